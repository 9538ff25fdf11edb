//! Documents, without a fleet.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use fleet::{Declared, Fault};
use rails::{Workflow, WorstCase};

use crate::table;

/// A document and the cases beside it.
pub(super) struct Document {
    place: String,
    text: String,
    cases: Option<(String, String)>,
}

impl Document {
    /// Reads a file, standard input, or a built-in workflow where no file has that name.
    pub(super) fn read(file: &Path) -> Result<Self, Fault> {
        let place = file.display().to_string();
        if place == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|e| unreadable("standard input", &e))?;
            return Ok(Self { place: "standard input".to_owned(), text, cases: None });
        }
        if let Some(builtin) = rails::builtin(&place).filter(|_| !file.exists()) {
            let cases = builtin.cases.map(|cases| (format!("{place}.cases.yaml"), cases.to_owned()));
            return Ok(Self { place, text: builtin.document.to_owned(), cases });
        }
        let text = std::fs::read_to_string(file).map_err(|e| unreadable(&place, &e))?;
        let beside = file.with_extension("cases.yaml");
        let cases = beside.exists().then(|| {
            let name = beside.display().to_string();
            std::fs::read_to_string(&beside).map_err(|e| unreadable(&name, &e)).map(|text| (name, text))
        });
        Ok(Self { place, text, cases: cases.transpose()? })
    }

    fn register(&self, declared: &Declared) -> Result<Workflow, rails::Faults> {
        declared.register(&self.text, &BTreeMap::new())
    }

    pub(super) fn checked(&self) -> Result<Workflow, Fault> {
        self.register(&Declared::default()).map_err(|faults| refused(&self.place, &faults))
    }
}

fn unreadable(place: &str, error: &std::io::Error) -> Fault {
    Fault::usage(format!("{place} cannot be read: {error}"))
}

fn refused(place: &str, faults: &rails::Faults) -> Fault {
    Fault::usage(format!("{place} is refused:\n{faults}"))
}

pub(super) fn validate(files: &[PathBuf], declared: &Declared, json: bool) -> Result<(), Fault> {
    let (mut refusals, mut answers) = (Vec::new(), Vec::new());
    for file in files {
        let document = Document::read(file)?;
        match document.register(declared) {
            Ok(workflow) => {
                let worst = workflow.worst_case().map_err(|faults| Fault::bug(faults.to_string()))?;
                if json {
                    answers.push(serde_json::json!({ "file": document.place, "version": workflow.version(), "worst_case": worst }));
                } else {
                    println!(
                        "{}: {} is a workflow\n  {}",
                        document.place,
                        workflow.version(),
                        in_words(&worst)
                    );
                    reasons(&workflow);
                }
            }
            Err(faults) => {
                answers.push(serde_json::json!({ "file": document.place, "faults": faults.0 }));
                refusals.push(refused(&document.place, &faults).to_string());
            }
        }
    }
    if json {
        table::json(&serde_json::json!(answers));
    }
    if refusals.is_empty() { Ok(()) } else { Err(Fault::usage(refusals.join("\n"))) }
}

/// Which steps act outside, and why others whose workers might have no side effect.
fn reasons(workflow: &Workflow) {
    let acting: Vec<&str> =
        workflow.steps().filter(|step| step.side_effect).map(|step| step.id.as_str()).collect();
    if !acting.is_empty() {
        println!("  side effects, each only with an approval: {}", acting.join(", "));
    }
    for step in workflow.steps() {
        if let Some(reason) = &step.side_effect_reason {
            println!("  {} counts as without side effects: {reason}", step.id);
        }
    }
}

pub(super) fn in_words(worst: &WorstCase) -> String {
    let unbounded = || format!("unbounded ({} without a budget)", worst.unbounded.join(", "));
    let tokens = worst.tokens.map_or_else(unbounded, |tokens| tokens.to_string());
    let cost = worst.cost_micros.map_or_else(unbounded, |micros| {
        format!("{}.{:02}", micros / 1_000_000, micros % 1_000_000 / 10_000)
    });
    let time = humantime::format_duration(std::time::Duration::from_secs(worst.seconds));
    format!("at most: {} steps, tokens {tokens}, cost {cost}, {time} of working", worst.steps)
}

pub(super) fn diff(old: &Path, new: &Path) -> Result<(), Fault> {
    let (old, new) = (Document::read(old)?.checked()?, Document::read(new)?.checked()?);
    let lines = new.diff_from(&old).map_err(|faults| Fault::bug(faults.to_string()))?;
    if lines.is_empty() {
        println!("No difference: both are {}", new.version());
    }
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

pub(super) fn test(files: &[PathBuf]) -> Result<(), Fault> {
    let mut failed = 0;
    for file in files {
        let document = Document::read(file)?;
        let workflow = document.checked()?;
        let Some((place, cases)) = &document.cases else {
            let beside = file.with_extension("cases.yaml");
            return Err(Fault::usage(format!(
                "{} has no cases: {} is not there",
                document.place,
                beside.display()
            )));
        };
        let results = rails::run_cases(&workflow, cases).map_err(|faults| refused(place, &faults))?;
        for result in results {
            let said = if result.differences.is_empty() { "ok" } else { "FAILED" };
            println!("{place}: {} … {said}", result.name);
            result.differences.iter().for_each(|difference| println!("  {difference}"));
            failed += usize::from(!result.differences.is_empty());
        }
    }
    if failed == 0 { Ok(()) } else { Err(Fault::usage(format!("{failed} of the cases failed"))) }
}

pub(super) fn new(name: &str, steps: &[String]) -> Result<(), Fault> {
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let text = rails::linear(name, &steps);
    let document = Document { place: format!("the workflow `{name}`"), text, cases: None };
    document.checked()?;
    print!("{}", document.text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn bad_documents_are_refused_with_every_fault_and_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let steps = "steps:\n  - { id: a, worker: nobody, on_success: b }\n";
        let first = written(folder.path(), "first.yaml", &format!("name: A\nversion: 1\n{steps}"));
        let second = written(folder.path(), "second.yaml", &format!("name: b\nversion: 1\n{steps}"));
        let fault = validate(&[first, second], &Declared::default(), false).unwrap_err();
        assert_eq!(fault.kind, fleet::FaultKind::Usage);
        for expected in ["first.yaml is refused", "1:7 name", "4:22 a", "4:42 a", "second.yaml is refused"] {
            assert!(fault.message.contains(expected), "{expected}\n{}", fault.message);
        }
    }

    #[test]
    fn a_gate_that_no_given_document_has_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let steps =
            "steps:\n  - { id: a, worker: etl, gates: { before: [editor] }, on_success: { end: done } }\n";
        let file = written(folder.path(), "w.yaml", &format!("name: w\nversion: 1\n{steps}"));
        let gates = |name: &str| {
            let file = written(folder.path(), "gates.yaml", &format!("gates:\n  {name}: {{ hitl: {{}} }}\n"));
            Declared::default().with_gates(&[file])
        };
        validate(std::slice::from_ref(&file), &gates("editor").unwrap(), false).unwrap();
        let fault = validate(std::slice::from_ref(&file), &gates("moon").unwrap(), false).unwrap_err();
        assert!(fault.message.contains("4:45 a: no gate policy is called `editor`"), "{}", fault.message);
        assert!(Declared::default().with_gates(&[folder.path().join("none.yaml")]).is_err());
    }

    #[test]
    fn built_in_workflows_pass_by_name_and_cases_are_found_beside_a_file() {
        let website = PathBuf::from("build_website");
        validate(std::slice::from_ref(&website), &Declared::default(), true).unwrap();
        test(std::slice::from_ref(&website)).unwrap();
        let poet = Declared::default().with_roles(&["poet".to_owned()]);
        assert!(validate(std::slice::from_ref(&website), &poet, false).is_err());
        let section = serde_json::json!({ "provider": "p", "providers": { "p": { "http": {} } } });
        let calling = Declared::default().with_section(&section);
        let refused = validate(std::slice::from_ref(&website), &calling, false).unwrap_err();
        assert!(refused.message.contains("side effect without an approval: create_specs"), "{refused}");
        assert!(test(&[PathBuf::from("trend")]).unwrap_err().message.contains("has no cases"));
        let folder = tempfile::tempdir().unwrap();
        let file = written(folder.path(), "site.yaml", rails::builtin("build_website").unwrap().document);
        let wrong = "cases:\n  - { step: review_code, given: { board: { spec: 1 } }, input: { spec: 2, code: null } }\n";
        written(folder.path(), "site.cases.yaml", wrong);
        assert!(test(std::slice::from_ref(&file)).unwrap_err().message.contains("1 of the cases failed"));
        diff(&website, &file).unwrap();
    }

    #[test]
    fn what_is_made_of_steps_passes_and_names_that_are_none_are_refused() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        new("digest", &names(&["research", "draft"])).unwrap();
        assert!(new("digest", &names(&["Draft!"])).is_err());
        assert!(new("digest", &names(&["a", "a"])).is_err());
    }
}
