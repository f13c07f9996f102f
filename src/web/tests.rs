//! Templates as files: what parses, what is refused and where, and how parameters are filled in.

use super::*;

fn refused(text: &str) -> (usize, String) {
    let error = Template::parse("mine", text).unwrap_err();
    (error.line, error.what)
}

const LEAST: &str = "strategy = \"serial\"\n[proof]\nnone = true\n";

#[test]
fn every_builtin_parses_under_its_own_name() {
    for (name, text) in BUILTIN {
        let template = Template::parse("x", text).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(template.name, *name);
        assert!(!template.about.is_empty(), "{name}");
        for (key, parameter) in &template.parameters {
            assert!(!parameter.about.is_empty(), "{name}: {key}");
            assert!(parameter.required || parameter.default.is_some(), "{name}: {key}");
        }
        assert!(Template::builtin(name).is_some());
    }
    assert!(builtin_names().is_sorted());
    assert!(Template::builtin("apache").is_none());
}

#[test]
fn every_file_of_a_template_is_in_the_list() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/web")).unwrap();
    let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let mut listed: Vec<String> = BUILTIN.iter().map(|(name, _)| format!("{name}.toml")).collect();
    listed.sort();
    assert_eq!(names, listed);
}

#[test]
fn strategies_are_those_of_the_contract() {
    for (name, _) in BUILTIN {
        let want = if *name == "passenger" { Strategy::Serial } else { Strategy::Parallel };
        assert_eq!(Template::builtin(name).map(|t| t.strategy), Some(want), "{name}");
    }
}

#[test]
fn mistakes_name_their_line() {
    assert_eq!(Template::parse("mine", LEAST).unwrap().name, "mine");
    assert_eq!(refused("strategy = \"at-once\"").0, 1);
    let (line, what) = refused("strategy = \"serial\"\ncolour = 1\n");
    assert!(line == 2 && what.contains("colour"), "{line} {what}");
    let (line, what) = refused(&format!("{LEAST}[parameters.a]\n[parameters.B]\n"));
    assert!(line == 5 && what.contains("`B`"), "{line} {what}");
    for bad in [
        "kind = \"colour\"",
        "kind = \"choice\"",
        "kind = \"integer\"\ndefault = \"x\"",
        "required = true\ndefault = 1",
    ] {
        assert_eq!(refused(&format!("{LEAST}[parameters.a]\n{bad}\n")).0, 4, "{bad}");
    }
    let (line, what) = refused("strategy = \"serial\"\n\n[scripts]\nprocesses = \"true\"\n");
    assert!(line == 3 && what.contains("`start`"), "{line} {what}");
    assert!(refused("strategy = \"serial\"\n[proof]\nold_gone = \"soon\"\n").1.contains("soon"));
}

#[test]
fn values_are_filled_in_and_objected_to() {
    let text = format!(
        "{LEAST}[scripts]\nlog = \"cat \\\"$w_log\\\"\"\n[parameters.log]\nkind = \"path\"\ndefault = \"a\"\n\
         [parameters.how]\nchoices = [\"x\", \"y\"]\nrequired = true\n[parameters.n]\nkind = \"integer\"\ndefault = 3\n"
    );
    let template = Template::parse("mine", &text).unwrap();
    let given = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let web = template.fill(&given(&[("how", "y"), ("log", "/b")]));
    assert_eq!(web.parameters["log"], "/b");
    assert_eq!(web.parameters["n"], "3");
    assert_eq!(web.scripts.log, "paths log\ncat \"$w_log\"");
    assert_eq!(web.scripts.start, "");

    let keys =
        |pairs: &[(&str, &str)]| template.objections(&given(pairs)).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(&[("how", "x")]), Vec::<String>::new());
    assert_eq!(keys(&[("how", "z"), ("n", "-1"), ("log", "a\nb"), ("colour", "")]), ["colour", "how", "log", "n"]);
    assert_eq!(keys(&[]), ["how"]);
}
