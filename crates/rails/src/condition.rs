//! Conditions: CEL expressions over artifacts, facts and frozen values.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::{Context, Program};
use serde_json::Value;

/// Functions and operators beyond CEL's own that a condition may call.
const FUNCTIONS: [&str; 10] =
    ["size", "contains", "startsWith", "endsWith", "matches", "has", "int", "double", "string", "type"];

/// A compiled condition.
#[derive(Debug)]
pub(crate) struct Condition {
    source: String,
    program: Program,
    roots: BTreeSet<String>,
    fields: BTreeSet<(String, String)>,
    tested: BTreeSet<(String, String)>,
    paths: BTreeSet<Vec<String>>,
}

/// What a condition says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Held {
    Yes,
    No,
    Errs(String),
}

impl Condition {
    /// Compiles a condition and notes what it refers to.
    pub(crate) fn compile(source: &str) -> Result<Self, String> {
        let program =
            Program::compile(source).map_err(|e| format!("`{source}` is no CEL expression: {e}"))?;
        let mut found = References::default();
        found.walk(program.expression(), &BTreeSet::new());
        match found.unknown.pop() {
            Some(function) => Err(format!("`{source}` calls the unknown function `{function}`")),
            None => Ok(Self {
                source: source.to_owned(),
                program,
                roots: found.roots,
                fields: found.fields,
                tested: found.tested,
                paths: found.paths,
            }),
        }
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The variables it reads.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(String::as_str)
    }

    /// The fields it reads directly of variables, such as (`judge`, `confidence`).
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(root, field)| (root.as_str(), field.as_str()))
    }

    /// The paths it reads, each as long as it is written: `board.a["b"][0]` is `board`, `a`, `b`, `0`.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &[String]> {
        self.paths.iter().map(Vec::as_slice)
    }

    /// Evaluates it. Anything but a plain yes or no is an error: a missing field, a type that does not compare, a NaN.
    pub(crate) fn evaluate(&self, variables: &BTreeMap<&str, &Value>) -> Held {
        match self.execute(variables) {
            Ok(cel::Value::Bool(true)) => Held::Yes,
            Ok(cel::Value::Bool(false)) => Held::No,
            Ok(other) => Held::Errs(format!("it gave {other:?}, not true or false")),
            Err(error) => Held::Errs(error),
        }
    }

    /// What it gives, as JSON.
    pub(crate) fn value(&self, variables: &BTreeMap<&str, &Value>) -> Result<Value, String> {
        self.execute(variables)?.json().map_err(|e| format!("what it gives is no JSON: {e}"))
    }

    fn execute(&self, variables: &BTreeMap<&str, &Value>) -> Result<cel::Value, String> {
        let mut context = Context::default();
        for (name, value) in variables.iter().filter(|(name, _)| self.roots.contains(**name)) {
            context.add_variable_from_value(*name, of_json(value));
        }
        if let Some((root, field)) = self.absent(variables) {
            return Err(format!("`{root}.{field}` is absent"));
        }
        self.program.execute(&context).map_err(|e| e.to_string())
    }

    /// A field that is read and is not there, unless the expression asks for it by `has`. (`null` counts as there: it is
    /// what "none" looks like.)
    fn absent(&self, variables: &BTreeMap<&str, &Value>) -> Option<(&str, &str)> {
        self.required().find(|(root, field)| match variables.get(root) {
            Some(Value::Object(map)) => !map.contains_key(*field),
            _ => true,
        })
    }

    /// The fields without which it errs.
    pub(crate) fn required(&self) -> impl Iterator<Item = (&str, &str)> {
        let required = self.fields.difference(&self.tested);
        required.map(|(root, field)| (root.as_str(), field.as_str()))
    }

    /// The values of what it reads, for evidence.
    pub(crate) fn evidence(&self, variables: &BTreeMap<&str, &Value>) -> Value {
        let read = self.fields().map(|(root, field)| {
            let value = variables.get(root).and_then(|root| root.get(field)).cloned().unwrap_or(Value::Null);
            (format!("{root}.{field}"), value)
        });
        Value::Object(read.collect())
    }
}

/// A value as CEL has it. Whole numbers are what its literals and sizes are, since it adds no others to these; only what is too
/// large for that is unsigned.
fn of_json(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(bool) => cel::Value::Bool(*bool),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => cel::Value::Int(int),
            (None, Some(uint)) => cel::Value::UInt(uint),
            (None, None) => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(of_json).collect::<Vec<_>>().into(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.as_str(), of_json(value)))
            .collect::<HashMap<_, _>>()
            .into(),
    }
}

/// What an expression selects from a variable, where it does nothing but select.
fn path(expr: &IdedExpr) -> Option<Vec<String>> {
    let (inner, segment) = match &expr.expr {
        Expr::Ident(name) => return Some(vec![name.clone()]),
        Expr::Select(select) => (&*select.operand, select.field.clone()),
        Expr::Call(call) if call.func_name == operators::INDEX && call.args.len() == 2 => {
            let segment = match &call.args[1].expr {
                Expr::Literal(LiteralValue::String(key)) => key.inner().to_owned(),
                Expr::Literal(LiteralValue::Int(index)) => index.inner().to_string(),
                _ => return None,
            };
            (&call.args[0], segment)
        }
        _ => return None,
    };
    let mut found = path(inner)?;
    found.push(segment);
    Some(found)
}

/// Whether a function is called by a name. Operators have signs, or are only places around them, as `_+_`.
fn is_name(function: &str) -> bool {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
    function.chars().all(named) && function.chars().any(|c| c != '_')
}

#[derive(Default)]
struct References {
    roots: BTreeSet<String>,
    fields: BTreeSet<(String, String)>,
    tested: BTreeSet<(String, String)>,
    paths: BTreeSet<Vec<String>>,
    unknown: Vec<String>,
}

impl References {
    /// Walks an expression; `bound` are the variables that macros bind.
    fn walk(&mut self, expr: &IdedExpr, bound: &BTreeSet<String>) {
        if let Some(path) = path(expr).filter(|path| !bound.contains(&path[0]) && !path[0].starts_with('@')) {
            self.paths.insert(path);
        }
        self.visit(expr, bound);
    }

    /// As [`Self::walk`], of what is part of a longer path.
    fn visit(&mut self, expr: &IdedExpr, bound: &BTreeSet<String>) {
        let selects = path(expr).is_some();
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                if !bound.contains(name) && !name.starts_with('@') {
                    self.roots.insert(name.clone());
                }
            }
            Expr::Select(select) => {
                if let Expr::Ident(root) = &select.operand.expr
                    && !bound.contains(root)
                {
                    let found = if select.test { &mut self.tested } else { &mut self.fields };
                    found.insert((root.clone(), select.field.clone()));
                }
                if selects { self.visit(&select.operand, bound) } else { self.walk(&select.operand, bound) }
            }
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                if is_name(name) && !FUNCTIONS.contains(&name) {
                    self.unknown.push(name.to_owned());
                }
                call.target.iter().for_each(|target| self.walk(target, bound));
                for (number, arg) in call.args.iter().enumerate() {
                    if selects && number == 0 { self.visit(arg, bound) } else { self.walk(arg, bound) }
                }
            }
            Expr::List(list) => list.elements.iter().for_each(|item| self.walk(item, bound)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.walk_entry(&entry.expr, bound)),
            Expr::Struct(structure) => {
                structure.entries.iter().for_each(|entry| self.walk_entry(&entry.expr, bound));
            }
            Expr::Comprehension(c) => {
                let mut inner = bound.clone();
                inner.extend([c.iter_var.clone(), c.accu_var.clone()]);
                inner.extend(c.iter_var2.clone());
                self.walk(&c.iter_range, bound);
                for part in [&c.accu_init, &c.loop_cond, &c.loop_step, &c.result] {
                    self.walk(part, &inner);
                }
            }
        }
    }

    fn walk_entry(&mut self, entry: &EntryExpr, bound: &BTreeSet<String>) {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value, bound),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key, bound);
                self.walk(&entry.value, bound);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn held(source: &str, judge: Value) -> Held {
        let values = json!({ "max": 0.8 });
        let variables = BTreeMap::from([("judge", &judge), ("values", &values)]);
        Condition::compile(source).unwrap().evaluate(&variables)
    }

    #[test]
    fn a_condition_says_yes_or_no_or_errs_and_never_passes_what_it_cannot_read() {
        let condition = "judge.score > values.max";
        assert_eq!(held(condition, json!({ "score": 0.9 })), Held::Yes);
        assert_eq!(held(condition, json!({ "score": 0.8 })), Held::No);
        assert_eq!(held(condition, json!({ "score": 1 })), Held::Yes);
        for bad in [
            json!({}),
            json!({ "score": null }),
            json!({ "score": "high" }),
            json!({ "score": [] }),
            json!(null),
        ] {
            assert!(matches!(held(condition, bad.clone()), Held::Errs(_)), "{bad}");
        }
        assert!(matches!(held("judge.score", json!({ "score": 1 })), Held::Errs(_)));
    }

    #[test]
    fn whole_numbers_are_reckoned_with_compared_and_point_into_lists() {
        let judge = json!({ "round": 1, "minus": -1, "list": [5, 6, 7], "most": u64::MAX, "half": 0.5 });
        for holds in [
            "judge.round + 1 == 2",
            "judge.round - 2 == -1",
            "size(judge.list) + judge.round > 3",
            "judge.list[judge.round] == 6",
            "judge.list[judge.round + 1] == 7",
            "judge.minus + judge.round == 0",
            "judge.round > 0 && judge.round < 1.5 && judge.round == 1.0",
            "judge.half < judge.round",
            "judge.round in [1, 2]",
            "judge.list.exists(n, n * 2 == 12)",
            "judge.most > 9223372036854775807",
            "string(judge.round) == '1'",
        ] {
            assert_eq!(held(holds, judge.clone()), Held::Yes, "{holds}");
        }
        let sum = Condition::compile("judge.round + 1").unwrap();
        assert_eq!(sum.value(&BTreeMap::from([("judge", &judge)])), Ok(json!(2)));
    }

    #[test]
    fn every_function_that_may_be_called_can_be() {
        let judge = json!({ "text": "abc", "score": 1 });
        for call in [
            "size(judge.text) == 3",
            "judge.text.contains('b')",
            "judge.text.startsWith('a')",
            "judge.text.endsWith('c')",
            "judge.text.matches('^a')",
            "has(judge.score)",
            "int('1') == 1",
            "double('0.5') < 1.0",
            "string(1) == '1'",
            "type(1) == type(2)",
        ] {
            assert!(FUNCTIONS.iter().any(|name| call.contains(&format!("{name}("))), "{call}");
            assert_eq!(held(call, judge.clone()), Held::Yes, "{call}");
        }
    }

    #[test]
    fn unknown_functions_are_found_before_anything_runs_and_bound_variables_are_no_references() {
        for call in ["launch", "is_valid", "_launch", "judge.text.to_lower"] {
            let refused = Condition::compile(&format!("{call}(judge.score)")).unwrap_err();
            assert!(refused.contains(call.rsplit('.').next().unwrap()), "{refused}");
        }
        let operators = "!(-judge.a + judge.b[0] * 2 - 3 / 4 % 5 <= 6 || judge.c in [7]) && (judge.d ? true : judge.e != 8)";
        assert!(Condition::compile(operators).is_ok());
        assert!(Condition::compile("judge.score >").is_err());
        let condition = Condition::compile("judge.list.exists(x, x.bad) && size(content.tags) > 1").unwrap();
        assert_eq!(condition.roots().collect::<Vec<_>>(), ["content", "judge"]);
    }
}
