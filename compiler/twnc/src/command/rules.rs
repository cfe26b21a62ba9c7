//! `twnc rules`: the rules of the e-graph, and whether a user's hold.

use super::arguments::Rules;
use super::failure::{Failure, Kind, RULES};
use super::host::Host;
use super::{counted, data, out};
use twnc_passes::Rule;
use twnc_passes::egraph::{Verdict, check};

/// Lists the built-in rules, or checks those of a file.
pub fn run(host: &Host, options: &Rules, json: bool) -> Result<(), Failure> {
    match &options.check {
        None => list(host, &Rule::built_in(), json),
        Some(path) => {
            let rules = Rule::parse(&data::text(path)?)
                .map_err(|e| Failure::unacceptable(e).in_file(path.display()).help(RULES))?;
            checked(host, &rules, options.cases, json).map_err(|failure| failure.in_file(path.display()))
        }
    }
}

fn list(host: &Host, rules: &[Rule], json: bool) -> Result<(), Failure> {
    if json {
        let list = rules.iter().map(|rule| {
            let (exactness, equation) = (rule.exactness().to_string(), rule.equation());
            serde_json::json!({"name": rule.name(), "exactness": exactness, "equation": equation})
        });
        out!(host, "{}", serde_json::Value::from_iter(list));
        return Ok(());
    }
    for rule in rules {
        out!(host, "{} ({})\n    {}", rule.name(), rule.exactness(), rule.equation());
    }
    Ok(())
}

/// Says of each rule in how many cases it holds; fails with those that do not, or that no case was found for.
fn checked(host: &Host, rules: &[Rule], cases: usize, json: bool) -> Result<(), Failure> {
    let verdicts: Vec<(&Rule, Verdict)> = rules.iter().map(|rule| (rule, check(rule, cases, 0))).collect();
    if json {
        let list = verdicts.iter().map(|(rule, verdict)| match verdict {
            Verdict::Holds(cases) => {
                serde_json::json!({"name": rule.name(), "holds": *cases > 0, "cases": cases})
            }
            Verdict::Fails(case) => serde_json::json!({"name": rule.name(), "holds": false, "case": case}),
        });
        out!(host, "{}", serde_json::Value::from_iter(list));
    }
    let mut wrong = vec![];
    for (rule, verdict) in &verdicts {
        let (line, column) = rule.place().unwrap_or_default();
        let place = format!("line {line}, column {column}: `{}`", rule.name());
        match verdict {
            Verdict::Holds(0) => wrong.push(format!(
                "{place} fits none of the random graphs; a condition that holds more often, or a variable in the place of attributes, fits more"
            )),
            Verdict::Holds(held) if !json => out!(host, "{}: holds in {}", rule.name(), counted(*held, "case")),
            Verdict::Holds(_) => {}
            Verdict::Fails(case) => wrong.push(format!("{place} does not hold: {case}")),
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Kind::Unacceptable, wrong.join("\n"))),
    }
}
