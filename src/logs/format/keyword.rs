//! The words between a prefix and its text: severities, and the names of a record's further parts,
//! in every language that PostgreSQL's message catalogues have.

use crate::logs::record::{Part, Severity};

/// What a line with a prefix begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// A record.
    Head(Severity),
    /// A further part of one.
    Group(Part),
}

/// The keyword at the start of the bytes, and its length with colon and blanks.
pub(super) fn keyword(bytes: &[u8]) -> Option<(Keyword, usize)> {
    english(bytes).or_else(|| translated(bytes))
}

fn english(bytes: &[u8]) -> Option<(Keyword, usize)> {
    use Keyword::{Group, Head};
    let is =
        |word: &'static [u8], keyword| bytes.starts_with(word).then_some((keyword, word.len()));
    match bytes.first()? {
        b'L' => {
            is(b"LOG:  ", Head(Severity::Log)).or_else(|| is(b"LOCATION:  ", Group(Part::Location)))
        }
        b'E' => is(b"ERROR:  ", Head(Severity::Error)),
        b'S' => is(b"STATEMENT:  ", Group(Part::Statement)),
        b'D' => is(b"DETAIL:  ", Group(Part::Detail)).or_else(|| {
            // Clients see DEBUG1 to DEBUG5, the log plain DEBUG.
            let digit = usize::from(matches!(bytes.get(5), Some(b'1'..=b'5')));
            let rest = bytes.strip_prefix(b"DEBUG")?;
            rest[digit..].starts_with(b":  ").then_some((Head(Severity::Debug), 8 + digit))
        }),
        b'H' => is(b"HINT:  ", Group(Part::Hint)),
        b'C' => is(b"CONTEXT:  ", Group(Part::Context)),
        b'F' => is(b"FATAL:  ", Head(Severity::Fatal)),
        b'W' => is(b"WARNING:  ", Head(Severity::Warning)),
        b'N' => is(b"NOTICE:  ", Head(Severity::Notice)),
        b'I' => is(b"INFO:  ", Head(Severity::Info)),
        b'P' => is(b"PANIC:  ", Head(Severity::Panic)),
        b'Q' => is(b"QUERY:  ", Group(Part::Query)),
        b'B' => is(b"BACKTRACE:  ", Group(Part::Backtrace)),
        _ => None,
    }
}

/// In the other languages. A severity is always followed by a colon and two blanks; the names of
/// parts are translated with theirs, and some languages write a blank before the colon, or fewer
/// behind it.
fn translated(bytes: &[u8]) -> Option<(Keyword, usize)> {
    let first = *bytes.first()?;
    if !first.is_ascii_uppercase() && first < 0x80 {
        return None;
    }
    for (word, severity) in SEVERITIES.iter().filter(|(word, _)| word.as_bytes()[0] == first) {
        if let Some(rest) = bytes.strip_prefix(word.as_bytes())
            && rest.starts_with(b":  ")
        {
            return Some((Keyword::Head(*severity), word.len() + 3));
        }
    }
    for (word, part) in PARTS.iter().filter(|(word, _)| word.as_bytes()[0] == first) {
        let Some(rest) = bytes.strip_prefix(word.as_bytes()) else { continue };
        let space = [&b" "[..], "\u{a0}".as_bytes()].into_iter().find(|s| rest.starts_with(s));
        let rest = &rest[space.map_or(0, <[u8]>::len)..];
        if let Some(rest) = rest.strip_prefix(b":") {
            let blanks = rest.iter().take(2).take_while(|b| **b == b' ').count();
            return Some((Keyword::Group(*part), bytes.len() - rest.len() + blanks));
        }
    }
    None
}

/// A severity by itself, in any language: csvlog's column.
pub(in crate::logs) fn severity(word: &[u8]) -> Option<Severity> {
    let english = Severity::ALL.into_iter().find(|severity| severity.as_str().as_bytes() == word);
    english.or_else(|| {
        SEVERITIES.iter().find(|(own, _)| own.as_bytes() == word).map(|(_, severity)| *severity)
    })
}

/// What stands for a name that is not known yet.
pub(in crate::logs) fn is_unknown(value: &[u8]) -> bool {
    value.first() == Some(&b'[') && UNKNOWN.iter().any(|word| word.as_bytes() == value)
}

/// The cursor position at the end of a message in another language: where it begins, and its digits.
pub(in crate::logs) fn foreign_position(message: &[u8]) -> Option<(usize, &[u8])> {
    let last = *message.last()?;
    if !(last.is_ascii_digit() || last == b')' || last == b'e' || last >= 0x80) {
        return None;
    }
    for (before, behind) in POSITIONS {
        let Some(rest) = message.strip_suffix(behind.as_bytes()) else { continue };
        let digits = rest.iter().rev().take(10).take_while(|b| b.is_ascii_digit()).count();
        let (rest, number) = rest.split_at(rest.len() - digits);
        if digits > 0 && rest.ends_with(before.as_bytes()) {
            return Some((rest.len() - before.len(), number));
        }
    }
    None
}

// The words of src/backend/po/*.po of PostgreSQL 13 to 18, by what each language says of its own
// beside English. A word that two languages share stands once.

const SEVERITIES: &[(&str, Severity)] = &[
    // German
    ("HINWEIS", Severity::Notice),
    ("WARNUNG", Severity::Warning),
    ("FEHLER", Severity::Error),
    ("PANIK", Severity::Panic),
    // French
    ("ATTENTION", Severity::Warning),
    ("ERREUR", Severity::Error),
    // Italian
    ("NOTIFICA", Severity::Notice),
    ("ATTENZIONE", Severity::Warning),
    ("ERRORE", Severity::Error),
    ("FATALE", Severity::Fatal),
    ("PANICO", Severity::Panic),
    // Georgian
    ("გამართვა", Severity::Debug),
    ("ჟურნალი", Severity::Log),
    ("ინფორმაცია", Severity::Info),
    ("გაფრთხილება", Severity::Warning),
    ("შეცდომა", Severity::Error),
    ("ფატალური", Severity::Fatal),
    ("პანიკა", Severity::Panic),
    // Korean
    ("디버그", Severity::Debug),
    ("로그", Severity::Log),
    ("정보", Severity::Info),
    ("알림", Severity::Notice),
    ("경고", Severity::Warning),
    ("오류", Severity::Error),
    ("치명적오류", Severity::Fatal),
    ("손상", Severity::Panic),
    // Polish
    ("DZIENNIK", Severity::Log),
    ("INFORMACJA", Severity::Info),
    ("UWAGA", Severity::Notice),
    ("OSTRZEŻENIE", Severity::Warning),
    ("BŁĄD", Severity::Error),
    ("KATASTROFALNY", Severity::Fatal),
    ("PANIKA", Severity::Panic),
    // Brazilian Portuguese
    ("DEPURAÇÃO", Severity::Debug),
    ("NOTA", Severity::Notice),
    ("AVISO", Severity::Warning),
    ("ERRO", Severity::Error),
    ("PÂNICO", Severity::Panic),
    // Russian
    ("ОТЛАДКА", Severity::Debug),
    ("СООБЩЕНИЕ", Severity::Log),
    ("ИНФОРМАЦИЯ", Severity::Info),
    ("ЗАМЕЧАНИЕ", Severity::Notice),
    ("ПРЕДУПРЕЖДЕНИЕ", Severity::Warning),
    ("ОШИБКА", Severity::Error),
    ("ВАЖНО", Severity::Fatal),
    ("ПАНИКА", Severity::Panic),
    // Swedish
    ("LOGG", Severity::Log),
    ("NOTIS", Severity::Notice),
    ("VARNING", Severity::Warning),
    ("FEL", Severity::Error),
    ("FATALT", Severity::Fatal),
    // Turkish
    ("BİLGİ", Severity::Info),
    ("NOT", Severity::Notice),
    ("UYARI", Severity::Warning),
    ("HATA", Severity::Error),
    ("ÖLÜMCÜL (FATAL)", Severity::Fatal),
    ("KRİTİK", Severity::Panic),
    // Ukrainian
    ("НАЛАГОДЖЕННЯ", Severity::Debug),
    ("ЗАПИСУВАННЯ", Severity::Log),
    ("ІНФОРМАЦІЯ", Severity::Info),
    ("ПОВІДОМЛЕННЯ", Severity::Notice),
    ("ПОПЕРЕДЖЕННЯ", Severity::Warning),
    ("ПОМИЛКА", Severity::Error),
    ("ФАТАЛЬНО", Severity::Fatal),
    ("ПАНІКА", Severity::Panic),
    // Chinese
    ("调试", Severity::Debug),
    ("日志", Severity::Log),
    ("信息", Severity::Info),
    ("注意", Severity::Notice),
    ("警告", Severity::Warning),
    ("错误", Severity::Error),
    ("致命错误", Severity::Fatal),
    ("比致命错误还过分的错误", Severity::Panic),
];
const PARTS: &[(&str, Part)] = &[
    // German
    ("TIPP", Part::Hint),
    ("ANFRAGE", Part::Query),
    ("ZUSAMMENHANG", Part::Context),
    ("ORT", Part::Location),
    ("ANWEISUNG", Part::Statement),
    // Spanish
    ("DETALLE", Part::Detail),
    ("CONSULTA", Part::Query),
    ("CONTEXTO", Part::Context),
    ("UBICACIÓN", Part::Location),
    ("SENTENCIA", Part::Statement),
    // French
    ("DÉTAIL", Part::Detail),
    ("ASTUCE", Part::Hint),
    ("REQUÊTE", Part::Query),
    ("CONTEXTE", Part::Context),
    ("EMPLACEMENT", Part::Location),
    ("PILE D'APPEL", Part::Backtrace),
    ("INSTRUCTION", Part::Statement),
    // Italian
    ("DETTAGLI", Part::Detail),
    ("SUGGERIMENTO", Part::Hint),
    ("CONTESTO", Part::Context),
    ("POSIZIONE", Part::Location),
    ("ISTRUZIONE", Part::Statement),
    // Japanese
    ("詳細", Part::Detail),
    ("ヒント", Part::Hint),
    ("問い合わせ", Part::Query),
    ("文脈", Part::Context),
    ("場所", Part::Location),
    ("バックトレース", Part::Backtrace),
    ("文", Part::Statement),
    // Georgian
    ("დეტალები", Part::Detail),
    ("მინიშნება", Part::Hint),
    ("მოთხოვნა", Part::Query),
    ("კონტექსტი", Part::Context),
    ("მდებარეობა", Part::Location),
    ("სტეკი", Part::Backtrace),
    ("ოპერატორი", Part::Statement),
    // Korean
    ("상세정보", Part::Detail),
    ("힌트", Part::Hint),
    ("쿼리", Part::Query),
    ("내용", Part::Context),
    ("위치", Part::Location),
    ("역추적", Part::Backtrace),
    ("명령 구문", Part::Statement),
    // Polish
    ("SZCZEGÓŁY", Part::Detail),
    ("PODPOWIEDŹ", Part::Hint),
    ("ZAPYTANIE", Part::Query),
    ("KONTEKST", Part::Context),
    ("POZYCJA", Part::Location),
    ("WYRAŻENIE", Part::Statement),
    // Brazilian Portuguese
    ("DETALHE", Part::Detail),
    ("DICA", Part::Hint),
    ("LOCAL", Part::Location),
    ("COMANDO", Part::Statement),
    // Russian
    ("ПОДРОБНОСТИ", Part::Detail),
    ("ПОДСКАЗКА", Part::Hint),
    ("ЗАПРОС", Part::Query),
    ("КОНТЕКСТ", Part::Context),
    ("ПОЛОЖЕНИЕ", Part::Location),
    ("СТЕК", Part::Backtrace),
    ("ОПЕРАТОР", Part::Statement),
    // Swedish
    ("DETALJ", Part::Detail),
    ("TIPS", Part::Hint),
    ("FRÅGA", Part::Query),
    ("KONTEXT", Part::Context),
    ("PLATS", Part::Location),
    ("SATS", Part::Statement),
    // Turkish
    ("DETAY", Part::Detail),
    ("İPUCU", Part::Hint),
    ("SORGU", Part::Query),
    ("BAĞLAM", Part::Context),
    ("YER", Part::Location),
    ("KOMUT", Part::Statement),
    // Ukrainian
    ("ВІДОМОСТІ", Part::Detail),
    ("УКАЗІВКА", Part::Hint),
    ("ЗАПИТ", Part::Query),
    ("РОЗТАШУВАННЯ", Part::Location),
    ("ВІДСТЕЖУВАТИ", Part::Backtrace),
    ("ІНСТРУКЦІЯ", Part::Statement),
    // Chinese
    ("详细信息", Part::Detail),
    ("提示", Part::Hint),
    ("查询", Part::Query),
    ("上下文", Part::Context),
    ("位置", Part::Location),
    ("语句", Part::Statement),
];

/// The word for a name not known yet.
const UNKNOWN: &[&str] = &[
    "[unknown]",
    "[unbekannt]",
    "[desconocido]",
    "[inconnu]",
    "[sconosciuto]",
    "[不明]",
    "[უცნობი]",
    "[알수없음]",
    "[nieznany]",
    "[desconhecido]",
    "[н/д]",
    "[okänd]",
    "[bilinmeyen]",
    "[未知]",
];

/// What stands before and behind the cursor position that ends a message.
const POSITIONS: &[(&str, &str)] = &[
    (" bei Zeichen ", ""),
    (" en carácter ", ""),
    (" au caractère ", ""),
    (" al carattere ", ""),
    ("(", "文字目)"),
    (" სიმბოლოსთან ", ""),
    (" ", " 번째 문자 부근"),
    (" przy znaku ", ""),
    (" no caracter ", ""),
    (" (символ ", ")"),
    (" vid tecken ", ""),
    (" ", ". karakterde"),
    (" символ ", ""),
    (" 第 ", " 个字符处"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_needs_its_colon_and_two_blanks() {
        assert_eq!(keyword(b"LOG:  x"), Some((Keyword::Head(Severity::Log), 6)));
        assert_eq!(keyword(b"DEBUG2:  x").map(|k| k.1), Some(9));
        assert_eq!(keyword(b"STATEMENT:  "), Some((Keyword::Group(Part::Statement), 12)));
        for no in [&b"LOG: x"[..], b"LOG", b"LOG:", b"log:  x", b"INFO LOG:  x", b""] {
            assert_eq!(keyword(no), None, "{}", String::from_utf8_lossy(no));
        }
    }

    #[test]
    fn other_languages_are_read_with_their_own_spacing() {
        for (text, wanted, rest) in [
            ("FEHLER:  Relation", Keyword::Head(Severity::Error), "Relation"),
            ("ОШИБКА:  отношение", Keyword::Head(Severity::Error), "отношение"),
            ("致命错误:  x", Keyword::Head(Severity::Fatal), "x"),
            ("ÖLÜMCÜL (FATAL):  x", Keyword::Head(Severity::Fatal), "x"),
            ("ANWEISUNG:  SELECT 1", Keyword::Group(Part::Statement), "SELECT 1"),
            ("INSTRUCTION :  SELECT 1", Keyword::Group(Part::Statement), "SELECT 1"),
            ("ASTUCE\u{a0}:  Essayez", Keyword::Group(Part::Hint), "Essayez"),
            ("쿼리:SELECT 1", Keyword::Group(Part::Query), "SELECT 1"),
            ("PILE D'APPEL : main", Keyword::Group(Part::Backtrace), "main"),
        ] {
            let (keyword, length) = keyword(text.as_bytes()).expect(text);
            assert_eq!((keyword, &text[length..]), (wanted, rest));
        }
    }

    #[test]
    fn positions_are_found_in_other_languages() {
        let of = |text: &str| {
            let (at, digits) = foreign_position(text.as_bytes())?;
            Some((text[..at].to_owned(), String::from_utf8_lossy(digits).into_owned()))
        };
        assert_eq!(of("Fehler bei Zeichen 15"), Some(("Fehler".into(), "15".into())));
        assert_eq!(of("エラー(7文字目)"), Some(("エラー".into(), "7".into())));
        assert_eq!(of("hata 3. karakterde"), Some(("hata".into(), "3".into())));
        assert_eq!(of("ошибка (символ 12)"), Some(("ошибка".into(), "12".into())));
        assert_eq!(of("plain text 12"), None);
        assert_eq!(of("(символ )"), None);
    }
}
