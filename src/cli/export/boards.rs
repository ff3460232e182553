//! Grafana dashboards with the identity labels under their names here. Pure.

use serde_json::Value;

use super::rename::Names;

include!(concat!(env!("OUT_DIR"), "/exports.rs"));

/// A dashboard's text with other label names: in its queries, variables, legends, links and table columns.
///
/// # Errors
/// When the text is no JSON, which no embedded file is.
pub(super) fn fitted(text: &str, names: Names<'_>) -> Result<String, serde_json::Error> {
    if names.are_ours() {
        return Ok(text.to_owned());
    }
    let mut board: Value = serde_json::from_str(text)?;
    walk(&mut board, "", false, names);
    Ok(serde_json::to_string_pretty(&board)? + "\n")
}

/// All dashboards as one JSON value: the object itself where there is one, else an array.
pub(super) fn joined(boards: &[(String, String)]) -> String {
    match boards {
        [(_, only)] => only.clone(),
        several => {
            let texts: Vec<&str> = several.iter().map(|(_, text)| text.trim_end()).collect();
            format!("[\n{}\n]\n", texts.join(",\n"))
        }
    }
}

/// `columns`: whether a string that is a label's name alone, also as a key, means a column of a result.
fn walk(value: &mut Value, key: &str, columns: bool, names: Names<'_>) {
    match value {
        Value::String(text) => {
            let changed = if columns {
                names.of(&names.template(text)).to_owned()
            } else if matches!(key, "expr" | "query" | "definition" | "expression") {
                names.expression(text)
            } else {
                names.template(text)
            };
            *text = changed;
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, key, columns, names)),
        Value::Object(map) => {
            if columns {
                let old = std::mem::take(map);
                map.extend(old.into_iter().map(|(key, item)| (names.of(&key).to_owned(), item)));
            }
            for (key, item) in map.iter_mut() {
                let columns = columns || matches!(&**key, "transformations" | "matcher" | "sortBy");
                walk(item, key, columns, names);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_where_a_label_can_stand() {
        let board = serde_json::json!({
            "title": "server", "uid": "cluster",
            "templating": {"list": [{"name": "server", "query": {"query": "label_values(x, server)", "refId": "server"}}]},
            "panels": [{
                "targets": [{"expr": "x{server=~\"$server\"}", "legendFormat": "server {{server}}"}],
                "transformations": [{"id": "organize", "options": {"indexByName": {"server": 1}, "renameByName": {"server": "Server"}}}],
                "fieldConfig": {"overrides": [{"matcher": {"id": "byName", "options": "server"}, "properties": [
                    {"id": "links", "value": [{"url": "/d/y?var-server=${__data.fields.server}"}]},
                    {"id": "displayName", "value": "server"}]}]},
            }],
        });
        let names = Names { cluster: "c", server: "node" };
        let fitted = fitted(&board.to_string(), names).unwrap();
        let expected = serde_json::json!({
            "title": "server", "uid": "cluster",
            "templating": {"list": [{"name": "server", "query": {"query": "label_values(x, node)", "refId": "server"}}]},
            "panels": [{
                "targets": [{"expr": "x{node=~\"$server\"}", "legendFormat": "server {{node}}"}],
                "transformations": [{"id": "organize", "options": {"indexByName": {"node": 1}, "renameByName": {"node": "Server"}}}],
                "fieldConfig": {"overrides": [{"matcher": {"id": "byName", "options": "node"}, "properties": [
                    {"id": "links", "value": [{"url": "/d/y?var-server=${__data.fields.node}"}]},
                    {"id": "displayName", "value": "server"}]}]},
            }],
        });
        assert_eq!(serde_json::from_str::<Value>(&fitted).unwrap(), expected);
    }

    #[test]
    fn one_is_itself_and_several_are_a_list() {
        let board = |text: &str| (String::new(), text.to_owned());
        assert_eq!(joined(&[board("{}\n")]), "{}\n");
        let several: Value =
            serde_json::from_str(&joined(&[board("{}\n"), board("{}\n")])).unwrap();
        assert_eq!(several.as_array().unwrap().len(), 2);
    }
}
