//! Holds answers against `docs/openapi.yaml`: status, headers, media type and schema of each operation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock};

use http::Method;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::http::Answer;

/// The description, parsed once.
pub(crate) struct Description {
    document: Value,
    /// Each operation: its method, the parts of its path, its id.
    operations: Vec<(Method, Vec<String>, String)>,
    /// Compiled schemas by their text.
    compiled: Mutex<HashMap<String, &'static Validator>>,
}

/// Returns the description.
pub(crate) fn description() -> &'static Description {
    static DESCRIPTION: OnceLock<Description> = OnceLock::new();
    DESCRIPTION.get_or_init(Description::read)
}

impl Description {
    fn read() -> Self {
        let document: Value =
            serde_saphyr::from_str(include_str!("../../../../docs/openapi.yaml")).expect("the description is YAML");
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
                if let Some(id) = operation["operationId"].as_str() {
                    let parts = path.trim_start_matches('/').split('/').map(str::to_owned).collect();
                    operations.push((method, parts, id.to_owned()));
                }
            }
        }
        Self { document, operations, compiled: Mutex::default() }
    }

    /// Returns the ids of all operations.
    pub(crate) fn operations(&self) -> BTreeSet<String> {
        self.operations.iter().map(|(_, _, id)| id.clone()).collect()
    }

    /// Returns each path of the description with its methods.
    pub(crate) fn paths(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (method, parts, _) in &self.operations {
            paths.entry(format!("/{}", parts.join("/"))).or_default().insert(method.to_string());
        }
        paths
    }

    /// Asserts that an answer is one that the description has for its operation. Returns the operation, if the path and
    /// method have one.
    #[track_caller]
    pub(crate) fn check(&self, method: &Method, path: &str, answer: &Answer) -> Option<String> {
        let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        let matches: Vec<_> = self.operations.iter().filter(|(_, template, _)| fits(template, &parts)).collect();
        // A fixed part wins over a parameter, as `log` over `{user}`.
        let fixed = |template: &[String]| template.iter().filter(|part| !part.starts_with('{')).count();
        let most = matches.iter().map(|(_, template, _)| fixed(template)).max();
        let at_path = || matches.iter().filter(|(_, template, _)| Some(fixed(template)) == most);
        let operation = at_path().find(|(own, _, _)| own == method);
        let status = answer.status.as_u16();
        if let Some((_, template, id)) = operation {
            let item = &self.document["paths"][format!("/{}", template.join("/"))];
            let responses = &item[method.as_str().to_lowercase()]["responses"];
            let response = &responses[status.to_string()];
            assert!(!response.is_null(), "{id} does not list {status}: {}", answer.text());
            self.check_response(&format!("{id} {status}"), self.resolve(response), answer);
            return Some(id.clone());
        }
        let name = if at_path().next().is_some() { "MethodNotAllowed" } else { "NotFound" };
        let expected = if name == "NotFound" { 404 } else { 405 };
        assert!([expected, 503, 429].contains(&status), "{method} {path}: {status}");
        if status == expected && method != Method::HEAD {
            self.check_response(name, &self.document["components"]["responses"][name], answer);
        }
        None
    }

    fn check_response(&self, what: &str, response: &Value, answer: &Answer) {
        if let Some(headers) = response["headers"].as_object() {
            for (name, header) in headers {
                let header = self.resolve(header);
                match answer.header(name) {
                    Some(text) => {
                        let number = header["schema"]["type"] == "integer";
                        let value = if number { json!(text.parse::<i64>().unwrap()) } else { json!(text) };
                        self.validate(&format!("{what} {name}"), &header["schema"], &value);
                    }
                    None => assert!(header["required"] != json!(true), "{what}: no header {name}"),
                }
            }
        }
        let Some(content) = response["content"].as_object() else {
            assert!(answer.body.is_empty(), "{what}: a body where none is described");
            return;
        };
        let media_type = answer.header("content-type").unwrap_or_else(|| panic!("{what}: no content type"));
        let described = content.get(media_type).unwrap_or_else(|| panic!("{what}: {media_type} is not described"));
        if media_type.ends_with("json") {
            let value: Value = serde_json::from_slice(&answer.body).unwrap();
            self.validate(what, &described["schema"], &value);
        } else {
            assert!(!answer.body.is_empty(), "{what}: an empty body");
        }
    }

    /// Asserts that a value is valid under a schema, whose references are into the description.
    #[track_caller]
    fn validate(&self, what: &str, schema: &Value, value: &Value) {
        let key = schema.to_string();
        let known = self.compiled.lock().unwrap().get(&key).copied();
        let validator = known.unwrap_or_else(|| {
            let mut root = Map::new();
            root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
            root.insert("components".to_owned(), self.document["components"].clone());
            root.insert("allOf".to_owned(), json!([schema]));
            let compiled = jsonschema::validator_for(&Value::Object(root));
            let compiled: &'static Validator = Box::leak(Box::new(compiled.expect("the schema is valid")));
            self.compiled.lock().unwrap().insert(key, compiled);
            compiled
        });
        let faults: Vec<String> =
            validator.iter_errors(value).map(|fault| format!("{fault} at {}", fault.instance_path)).collect();
        assert!(faults.is_empty(), "{what} is not as described: {faults:?} in {value}");
    }

    /// Follows a reference, if it is one.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                self.document.pointer(reference.trim_start_matches('#')).expect("references lead somewhere")
            }
            None => value,
        }
    }
}

fn fits(template: &[String], parts: &[&str]) -> bool {
    template.len() == parts.len()
        && template.iter().zip(parts).all(
            |(template, part)| {
                if template.starts_with('{') { !part.is_empty() } else { template == part }
            },
        )
}
