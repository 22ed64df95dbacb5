//! Tests of the search for functions that call themselves. Read next: [`super::check`].

use super::*;

fn names(text: &str) -> Vec<(usize, String)> {
    self_calls(text)
}

#[test]
fn finds_a_function_that_calls_itself() {
    let text = "fn walk(node: &Node) {\n    for child in node {\n        walk(child);\n    }\n}\n";
    assert_eq!(names(text), [(3, "walk".to_owned())]);
}

#[test]
fn finds_a_method_that_calls_itself() {
    let text = "impl A {\n    fn walk(\n        &self,\n    ) {\n        self.walk();\n    }\n}\n";
    assert_eq!(names(text), [(5, "walk".to_owned())]);
}

#[test]
fn spares_calls_of_others_and_of_the_same_name_elsewhere() {
    let text = "impl A {\n    fn write(&self) {\n        self.inner.write();\n        write(out);\n    }\n}\n\
                trait T {\n    fn walk(&self);\n}\n\
                fn go() {\n    walk();\n    x.go();\n    y::go();\n    $go();\n}\n";
    assert_eq!(names(text), []);
}

#[test]
fn only_crates_that_read_hostile_input_are_held() {
    let text = "fn walk() {\n    walk();\n}\n".to_owned();
    let mut problems = Vec::new();
    check(&SourceFile { path: "crates/rempart/src/a.rs".into(), text: text.clone() }, &mut problems);
    assert_eq!(problems, []);
    check(&SourceFile { path: "crates/http1/src/a.rs".into(), text }, &mut problems);
    assert_eq!(problems.len(), 1);
}
