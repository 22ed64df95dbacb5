//! What is wrong with rules is said, all at once, with file and line.

use seclang::{LoadError, Loader, MemoryFiles};

fn problems(files: &[(&str, &str)]) -> LoadError {
    let mut memory = MemoryFiles::default();
    for (path, text) in files {
        memory.insert(*path, text.as_bytes());
    }
    let mut loader = Loader::new(&memory);
    loader.file(files[0].0);
    loader.finish().expect_err("problems")
}

fn lines(error: &LoadError) -> Vec<String> {
    error.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_problem_of_every_file_is_reported_with_its_place() {
    let error = problems(&[
        (
            "waf/main.conf",
            "SecRule ARGS \"@rx a\" \"id:1,phase:2,pas\"\n\
             Include rules/*.conf\n\
             SecRule ARGZ \"@rx a\" \"id:2,phase:2,pass\"\n\
             SecRuleEngin On\n\
             SecRule ARGS \"@pmFromFile missing.data\" \"id:3,phase:2,pass\"\n\
             SecRule ARGS \"@rx a{1000}{1000}{10}\" \"id:4,phase:2,pass\"\n\
             SecRule ARGS \"@rx a\" \"id:1,phase:2,pass,skipAfter:NOWHERE\"\n\
             SecRule ARGS \"@rx a\" \"id:5,phase:2,pass,chain\"\n\
             SecMarker END\n",
        ),
        ("waf/rules/a.conf", "# one\n\nSecRule ARGS \"@gsbLookup x\" \"id:6,phase:2,pass\"\n"),
        ("waf/rules/b.conf", "SecRule ARGS \"@rx (?=a)\" \"id:7,phase:2,deny,t:lowercas\"\n"),
    ]);
    let lines = lines(&error);
    for expected in [
        "waf/main.conf:1: unknown action `pas` (did you mean `pass`?)",
        "waf/main.conf:3: unknown variable `ARGZ` (did you mean `ARGS`?)",
        "waf/main.conf:4: unknown directive `SecRuleEngin` (did you mean `SecRuleEngine`?)",
        "waf/main.conf:5: `waf/missing.data` cannot be read: there is no such file",
        "waf/main.conf:6: the pattern is too large",
        "waf/main.conf:7: the id 1 is taken by the rule at waf/main.conf:1",
        "waf/main.conf:7: unknown marker `NOWHERE`",
        "waf/main.conf:8: the chain is not finished",
        "waf/rules/a.conf:3: `@gsbLookup` is an operator that ModSecurity 3 does not support either",
        "waf/rules/b.conf:1: the pattern is not one that can be searched",
        "waf/rules/b.conf:1: unknown transformation `lowercas` (did you mean `lowercase`?)",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}\nis not in\n{error}");
    }
    assert_eq!(lines.len(), 11, "{error}");
}

#[test]
fn what_needs_a_store_a_program_or_a_script_is_refused_by_name() {
    let error = problems(&[(
        "r.conf",
        "SecAction \"id:1,phase:1,pass,setvar:ip.count=+1\"\n\
         SecRule IP:count \"@gt 5\" \"id:2,phase:1,deny\"\n\
         SecAction \"id:3,phase:1,pass,exec:/bin/true\"\n\
         SecRuleScript a.lua \"id:4,phase:1,pass\"\n\
         SecAction \"id:5,phase:1,pass,expirevar:ip.count=60\"\n\
         SecAction \"id:6,phase:1,pass,msg:'%{SESSION.user}'\"\n\
         SecRule FILES_TMPNAMES \"@inspectFile /x\" \"id:7,phase:1,pass\"\n\
         SecRule XML:a/b \"@rx x\" \"id:8,phase:2,pass\"\n",
    )]);
    assert_eq!(error.problems.len(), 8, "{error}");
    let numbers: Vec<u32> = error.problems.iter().map(|problem| problem.place.line).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn files_that_include_each_other_end() {
    let error = problems(&[("a.conf", "Include b.conf\n"), ("b.conf", "Include a.conf\n")]);
    assert_eq!(lines(&error), ["a.conf:1: files include each other in a circle (leave one Include out)"]);
}

#[test]
fn files_beside_each_other_are_not_inside_each_other() {
    let mut memory = MemoryFiles::default();
    for number in 0..40 {
        let inner = if number % 10 == 0 { format!("Include inner/{number}.conf\n") } else { String::new() };
        memory.insert(
            format!("rules/{number:02}.conf"),
            format!("{inner}SecAction \"id:{},phase:1,pass,nolog\"\n", number + 1),
        );
        memory.insert(
            format!("rules/inner/{number}.conf"),
            format!("SecAction \"id:{},phase:1,pass,nolog\"\n", number + 101),
        );
    }
    let mut loader = Loader::new(&memory);
    loader.text("main.conf", "Include rules/*.conf\n");
    let set = loader.finish().unwrap_or_else(|error| panic!("{error}"));
    // In the order of the names, each included file at the place of its Include.
    let expected: Vec<u64> = (0..40)
        .flat_map(|number| (number % 10 == 0).then_some(number + 101).into_iter().chain([number + 1]))
        .collect();
    assert_eq!(set.ids().collect::<Vec<_>>(), expected);
}

#[test]
fn files_are_read_sixteen_deep_and_no_deeper() {
    let chain = |depth: usize| {
        let mut memory = MemoryFiles::default();
        for number in 0..=depth {
            let next = if number < depth { format!("Include {}.conf\n", number + 1) } else { String::new() };
            memory.insert(
                format!("{number}.conf"),
                format!("{next}SecAction \"id:{},phase:1,pass\"\n", number + 1),
            );
        }
        let mut loader = Loader::new(&memory);
        loader.file("0.conf");
        loader.finish().map(|set| set.ids().count())
    };
    assert_eq!(chain(16).ok(), Some(17));
    let error = chain(17).expect_err("a problem");
    assert_eq!(lines(&error), ["16.conf:1: files include each other in a circle (leave one Include out)"]);
}

#[test]
fn a_file_that_includes_itself_many_times_over_ends() {
    let error = problems(&[("a.conf", &"Include a.conf\n".repeat(20))]);
    assert_eq!(error.problems.len(), 500);
    assert!((1_000..100_000).contains(&error.left_out), "{}", error.left_out);
}

#[test]
fn many_problems_are_cut_and_counted() {
    let text = "SecUnknown\n".repeat(700);
    let error = problems(&[("a.conf", &text)]);
    assert_eq!((error.problems.len(), error.left_out), (500, 200));
}

#[test]
fn an_update_that_meets_no_rule_is_a_note() {
    let memory = MemoryFiles::default();
    let mut loader = Loader::new(&memory);
    loader.text("r.conf", "SecRuleRemoveById 942100\nSecAction \"id:1,phase:1,pass\"");
    let set = loader.finish().expect("it loads");
    assert_eq!(set.notes().len(), 1);
    assert_eq!(set.ids().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_directive_without_effect_is_read_only_where_nothing_is_lost() {
    let load = |text: &str| {
        let files = MemoryFiles::default();
        let mut loader = Loader::new(&files);
        loader.text("r.conf", text);
        loader.finish().map_err(|error| error.to_string())
    };
    for harmless in
        ["SecCookieFormat 0", "SecCookieV0Separator ;", "SecAuditLogParts ABIJDEFHZ", "SecHashEngine Off"]
    {
        assert!(load(harmless).is_ok(), "{harmless}");
    }
    for (wanted, expected) in [
        ("SecCookieFormat 1", "`SecCookieFormat` is `0` here"),
        ("SecCookieV0Separator ,", "`SecCookieV0Separator` is `;` here"),
        ("SecRemoteRules key https://rules.example/", "`SecRemoteRules` is a directive that there is not"),
        ("SecReadStateLimit 5", "connections are limited by the node"),
        ("SecUploadFileLimit many", "`SecUploadFileLimit` is a number"),
    ] {
        let told = load(wanted).expect_err(wanted);
        assert!(told.contains(expected), "{told}");
    }
    let files = |text: &str| load(text).expect("it loads").settings().upload_files;
    assert_eq!(
        ["", "SecUploadFileLimit 3", "SecUploadFileLimit 0", "SecUploadFileLimit 5000"].map(files),
        [1_000, 3, 1_000, 1_000]
    );
}
