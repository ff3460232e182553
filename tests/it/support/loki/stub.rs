//! A stub of Loki that does to pushes whatever a test tells it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost::Message;

use super::Entry;

/// What the stub does to a push.
#[derive(Clone, Debug)]
enum Fault {
    Answer {
        status: u16,
        body: String,
    },
    /// Stores nothing and says that all is stored.
    Masked,
    /// Stores all but the first entries, and says so.
    Partial {
        refused: usize,
    },
    /// Stores all, and closes the connection without an answer.
    Reset,
    /// Stores all, after a while.
    Slow(Duration),
}

/// One push as it came.
#[derive(Clone, Debug)]
pub struct Push {
    pub labels: String,
    pub tenant: Option<String>,
    pub authorization: Option<String>,
    pub entries: Vec<Entry>,
    /// Bytes of the message before snappy.
    pub size: usize,
    /// What it was answered; 0 where the connection was closed instead.
    pub status: u16,
    /// So many of its first entries are not stored.
    pub refused: usize,
}

#[derive(Default)]
struct Shared {
    faults: VecDeque<(Fault, usize)>,
    pushes: Vec<Push>,
    stored: BTreeMap<String, BTreeSet<Entry>>,
    in_flight: BTreeMap<String, usize>,
    most_in_flight: usize,
    /// How often clients have gone whose requests count no more.
    abandoned: usize,
    /// A tenant whose every push is refused, and the status that it gets.
    refused_tenant: Option<(String, u16)>,
    closed: bool,
    /// What `/config` shows; 404 where it is none.
    config: Option<String>,
}

/// A Loki that keeps what it gets in memory: equal entries of one stream once, as Loki shows them.
#[derive(Clone)]
pub struct Stub {
    shared: Arc<Mutex<Shared>>,
    pub address: SocketAddr,
}

/// A fault that the stub was told; by default for one push.
pub struct Told<'a> {
    stub: &'a Stub,
    at: usize,
}

impl Told<'_> {
    /// For so many pushes.
    pub fn times(self, times: usize) {
        let mut shared = self.stub.lock();
        if let Some(fault) = shared.faults.get_mut(self.at) {
            fault.1 = times;
        }
    }

    pub fn for_ever(self) {
        self.times(usize::MAX);
    }
}

impl Stub {
    pub fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into())
    }

    pub fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let stub = Self { shared: Arc::default(), address };
        let accepting = stub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = accepting.lock();
                if shared.closed {
                    break;
                }
                let (serving, client) = (accepting.clone(), shared.abandoned);
                if let Ok(stream) = stream {
                    std::thread::spawn(move || serving.serve(stream, client));
                }
            }
        });
        stub
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn tell(&self, fault: Fault) -> Told<'_> {
        let mut shared = self.lock();
        shared.faults.push_back((fault, 1));
        Told { stub: self, at: shared.faults.len() - 1 }
    }

    /// Answers with a status and a body, and stores nothing.
    pub fn answer(&self, status: u16, body: &str) -> Told<'_> {
        self.tell(Fault::Answer { status, body: body.to_owned() })
    }

    /// Answers with a status as Loki words it, and stores nothing.
    pub fn reject(&self, status: u16) -> Told<'_> {
        let body = match status {
            429 => "ingestion rate limit exceeded for user fake (limit: 1 bytes/sec)",
            260 => "ingestion blocked for user 'fake'",
            500 => "empty ring",
            _ => "no",
        };
        self.answer(status, body)
    }

    /// Every push of one tenant is refused, the others are served.
    pub fn reject_tenant(&self, tenant: &str, status: u16) {
        self.lock().refused_tenant = Some((tenant.to_owned(), status));
    }

    pub fn accept_tenants(&self) {
        self.lock().refused_tenant = None;
    }

    /// From now on `/config` shows this.
    pub fn show_config(&self, text: &str) {
        self.lock().config = Some(text.to_owned());
    }

    pub fn masked(&self) -> Told<'_> {
        self.tell(Fault::Masked)
    }

    pub fn partial(&self, refused: usize) -> Told<'_> {
        self.tell(Fault::Partial { refused })
    }

    pub fn reset(&self) -> Told<'_> {
        self.tell(Fault::Reset)
    }

    pub fn slow(&self, by: Duration) -> Told<'_> {
        self.tell(Fault::Slow(by))
    }

    /// No more faults.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Every push so far, refused ones too.
    pub fn pushes(&self) -> Vec<Push> {
        self.lock().pushes.clone()
    }

    /// The pushes from number `at` on, refused ones too: for tests that look often.
    pub fn pushes_from(&self, at: usize) -> Vec<Push> {
        self.lock().pushes.get(at..).unwrap_or_default().to_vec()
    }

    /// The pushes since this was asked last; the stub forgets them.
    pub fn take_pushes(&self) -> Vec<Push> {
        std::mem::take(&mut self.lock().pushes)
    }

    /// What is stored, of all streams whose labels hold `part`; equal entries once, in time's order.
    pub fn entries(&self, part: &str) -> Vec<Entry> {
        let shared = self.lock();
        let streams = shared.stored.iter().filter(|(labels, _)| labels.contains(part));
        let mut all: Vec<Entry> = streams.flat_map(|(_, entries)| entries.clone()).collect();
        all.sort();
        all
    }

    pub fn streams(&self) -> Vec<String> {
        self.lock().stored.keys().cloned().collect()
    }

    /// The most requests of one stream that were open at once.
    pub fn most_in_flight(&self) -> usize {
        self.lock().most_in_flight
    }

    /// Ends it, and forgets all that it was sent: for tests that start many. Its clients are gone.
    pub fn close(&self) {
        *self.lock() = Shared { closed: true, ..Shared::default() };
        drop(TcpStream::connect(self.address));
    }

    /// The client was killed: what it has asked is not waited for by its successor.
    pub fn abandon(&self) {
        // Connections are taken in their order, so all of the client's are before this one.
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.write_all(b"GET /ready HTTP/1.1\r\n\r\n").expect("a request");
        stream.read_exact(&mut [0]).expect("an answer");
        let mut shared = self.lock();
        shared.abandoned += 1;
        shared.in_flight.clear();
    }

    /// Waits until at least `count` entries are stored in streams with `part`.
    pub fn await_entries(&self, part: &str, count: usize, within: Duration) -> Vec<Entry> {
        let deadline = Instant::now() + within;
        loop {
            let found = self.entries(part);
            if found.len() >= count {
                return found;
            }
            let last = found.last();
            assert!(Instant::now() < deadline, "{} of {count} entries: {last:?}", found.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `client`: how many had gone when it came.
    fn serve(&self, stream: TcpStream, client: usize) {
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut writer = stream;
        while let Some((path, headers, body)) = request(&mut reader) {
            let answer = if path.starts_with("/loki/api/v1/push") {
                self.push(&headers, &body, client)
            } else if let ("/config", Some(text)) = (&*path, self.lock().config.clone()) {
                Some((200, text))
            } else {
                Some((404, "404 page not found".to_owned()))
            };
            let Some((status, text)) = answer else { return };
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", text.len());
            let head = if status == 204 { "HTTP/1.1 204 X\r\n\r\n".to_owned() } else { head };
            let text = if status == 204 { "" } else { &text };
            if writer.write_all(format!("{head}{text}").as_bytes()).is_err() {
                return;
            }
        }
    }

    /// The answer to a push; none closes the connection.
    fn push(
        &self,
        headers: &BTreeMap<String, String>,
        body: &[u8],
        client: usize,
    ) -> Option<(u16, String)> {
        let Ok(plain) = snap::raw::Decoder::new().decompress_vec(body) else {
            return Some((400, "snappy: corrupt input".to_owned()));
        };
        let request = PushRequest::decode(&plain[..]).expect("a push request");
        assert_eq!(request.streams.len(), 1, "one stream per request");
        let stream = request.streams.into_iter().next().expect("one");
        let labels = stream.labels;
        let entries: Vec<Entry> = stream.entries.into_iter().map(Entry::from).collect();
        let (refused, slow, answer) = {
            let mut shared = self.lock();
            if client == shared.abandoned {
                let open = shared.in_flight.entry(labels.clone()).or_default();
                *open += 1;
                shared.most_in_flight = (*open).max(shared.most_in_flight);
            }
            let all = entries.len();
            let refused = shared.refused_tenant.clone();
            let refused = refused.filter(|(name, _)| headers.get("x-scope-orgid") == Some(name));
            let fault = match refused {
                Some((_, status)) => Some(Fault::Answer { status, body: "no".to_owned() }),
                None => shared.next_fault(),
            };
            let outcome = match fault {
                None => (0, Duration::ZERO, Some((204, String::new()))),
                Some(Fault::Slow(by)) => (0, by, Some((204, String::new()))),
                Some(Fault::Reset) => (0, Duration::ZERO, None),
                Some(Fault::Masked) => (all, Duration::ZERO, Some((204, String::new()))),
                Some(Fault::Answer { status, body }) => (all, Duration::ZERO, Some((status, body))),
                Some(Fault::Partial { refused }) => {
                    let refused = refused.min(all);
                    let body = format!(
                        "entry with timestamp x ignored, reason: 'entry too far behind',\nuser \
                         'fake', total ignored: {refused} out of {all} for stream: {labels}"
                    );
                    (refused, Duration::ZERO, Some((400, body)))
                }
            };
            shared.pushes.push(Push {
                labels: labels.clone(),
                tenant: headers.get("x-scope-orgid").cloned(),
                authorization: headers.get("authorization").cloned(),
                entries: entries.clone(),
                size: plain.len(),
                status: outcome.2.as_ref().map_or(0, |(status, _)| *status),
                refused: outcome.0,
            });
            outcome
        };
        std::thread::sleep(slow);
        let mut shared = self.lock();
        let stored = shared.stored.entry(labels.clone()).or_default();
        stored.extend(entries.into_iter().skip(refused));
        if client == shared.abandoned
            && let Some(open) = shared.in_flight.get_mut(&labels)
        {
            *open -= 1;
        }
        answer
    }
}

impl Shared {
    fn next_fault(&mut self) -> Option<Fault> {
        let (fault, left) = self.faults.front_mut()?;
        let fault = fault.clone();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.faults.pop_front();
        }
        Some(fault)
    }
}

fn request(reader: &mut impl BufRead) -> Option<(String, BTreeMap<String, String>, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, headers, body))
}

// loki-api's messages, extended by the structured metadata which they lack.

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<StreamMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct StreamMessage {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<EntryMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct EntryMessage {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<loki_api::prost_types::Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<PairMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct PairMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl From<EntryMessage> for Entry {
    fn from(message: EntryMessage) -> Self {
        let time = message.timestamp.expect("a time");
        Self {
            ns: time.seconds * 1_000_000_000 + i64::from(time.nanos),
            line: message.line,
            metadata: message.metadata.into_iter().map(|p| (p.name, p.value)).collect(),
        }
    }
}
