//! The part of JSON Schema that the provisioning API's document uses, to hold answers against it.

use serde_json::Value;

/// What is wrong with a value; nothing, if it is as the schema says. `document`: where `$ref` leads.
pub(crate) fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(document, schema, value, "", &mut found);
    found
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(path) => document.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path} is not there")),
        None => schema,
    }
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let schema = resolve(document, schema);
    let known = [
        "type",
        "description",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
    ];
    for key in schema.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "this test does not know {key}");
    }
    let right = match schema["type"].as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("this test does not know {other}"),
    };
    if !right {
        return found.push(format!("{at}: {value} is no {}", schema["type"]));
    }
    if schema.get("enum").is_some_and(|all| !all.as_array().unwrap().contains(value)) {
        found.push(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    if let (Some(least), Some(number)) = (schema.get("minimum").and_then(Value::as_i64), value.as_i64())
        && number < least
    {
        found.push(format!("{at}: {number} is less than {least}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(document, &schema["items"], item, &format!("{at}/{index}"), found);
    }
    let Some(properties) = schema.get("properties") else { return };
    for name in schema["required"].as_array().unwrap() {
        if value.get(name.as_str().unwrap()).is_none() {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, inner) in value.as_object().unwrap() {
        match properties.get(name) {
            Some(schema) => check(document, schema, inner, &format!("{at}/{name}"), found),
            None if schema["additionalProperties"] == false => found.push(format!("{at}: {name} is not in the schema")),
            None => {}
        }
    }
}

#[test]
fn faults_are_found() {
    let document = serde_json::json!({ "a": { "type": "object", "properties": { "n": { "type": "integer", "minimum": 0 } },
        "required": ["n"], "additionalProperties": false } });
    let schema = serde_json::json!({ "$ref": "#/a" });
    let many = |value| faults(&document, &schema, &value).len();
    assert_eq!(many(serde_json::json!({ "n": 1 })), 0);
    for wrong in [
        serde_json::json!({}),
        serde_json::json!({ "n": "1" }),
        serde_json::json!({ "n": -1 }),
        serde_json::json!({ "n": 1, "m": 1 }),
        serde_json::json!([]),
    ] {
        assert_eq!(many(wrong.clone()), 1, "{wrong}");
    }
}
