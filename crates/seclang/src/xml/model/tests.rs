//! Models beside regular expressions: whatever is accepted as deterministic takes exactly the same children.

use proptest::prelude::*;

use super::*;

/// A step of building a model.
#[derive(Debug, Clone)]
enum Step {
    Name(u32),
    Sequence,
    Choice,
    Occurs(u32, Option<u32>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bounds = (0_u32..4, 0_u32..4, any::<bool>());
    let step = prop_oneof![
        4 => (0_u32..3).prop_map(Step::Name),
        3 => Just(Step::Sequence),
        2 => Just(Step::Choice),
        4 => bounds.prop_map(|(min, more, is_open)| {
            Step::Occurs(min, (!is_open).then_some((min + more).max(1)))
        }),
    ];
    prop::collection::vec(step, 1..12)
}

/// The same parts as a model and as a regular expression over `a`, `b`, `c`.
fn built(steps: &[Step]) -> (Builder, String) {
    let (mut builder, mut texts) = (Builder::default(), Vec::<String>::new());
    let fine = "small models are no too large ones";
    for step in steps {
        match step {
            Step::Name(symbol) => {
                builder.name(&[*symbol]).expect(fine);
                texts.push(char::from(b'a' + *symbol as u8).to_string());
            }
            Step::Sequence | Step::Choice if texts.len() < 2 => {}
            Step::Sequence => {
                builder.sequence().expect(fine);
                let (after, before) = (texts.pop().expect(fine), texts.pop().expect(fine));
                texts.push(format!("(?:{before}{after})"));
            }
            Step::Choice => {
                builder.choice().expect(fine);
                let (after, before) = (texts.pop().expect(fine), texts.pop().expect(fine));
                texts.push(format!("(?:{before}|{after})"));
            }
            Step::Occurs(min, max) => {
                if let Some(text) = texts.pop() {
                    builder.occurs(*min, *max).expect(fine);
                    let max = max.map(|max| max.to_string()).unwrap_or_default();
                    texts.push(format!("(?:{text}){{{min},{max}}}"));
                }
            }
        }
    }
    while texts.len() > 1 {
        builder.sequence().expect(fine);
        let (after, before) = (texts.pop().expect(fine), texts.pop().expect(fine));
        texts.push(format!("(?:{before}{after})"));
    }
    (builder, texts.pop().unwrap_or_default())
}

fn takes(model: &Model, children: &[u8]) -> bool {
    let mut walk = Walk::default();
    children.iter().all(|child| model.step(&mut walk, u32::from(child - b'a'), |_| false))
        && model.may_end(&walk)
}

/// Every text over three letters of so many letters at most.
fn words(length: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..=length).flat_map(|length| {
        (0..3_u32.pow(length)).map(move |number| {
            (0..length).map(|place| b'a' + (number / 3_u32.pow(place) % 3) as u8).collect()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn a_model_takes_what_the_regular_expression_does(steps in steps()) {
        let (builder, text) = built(&steps);
        let Ok(model) = builder.finish(|_, _| false) else { return Ok(()) };
        let regex = regex::Regex::new(&format!("^{text}$")).expect("a pattern");
        for word in words(6) {
            let shown = String::from_utf8_lossy(&word).into_owned();
            prop_assert_eq!(takes(&model, &word), regex.is_match(&shown), "{} {}", text, shown);
        }
        // Longer ones, where counters have more to count.
        for length in 7..12 {
            for letter in *b"abc" {
                let mut word = vec![letter; length];
                prop_assert_eq!(takes(&model, &word), regex.is_match(&String::from_utf8_lossy(&word)), "{}\
                    ", text);
                word[length - 1] = b'a' + (letter - b'a' + 1) % 3;
                prop_assert_eq!(takes(&model, &word), regex.is_match(&String::from_utf8_lossy(&word)), "{}\
                    ", text);
            }
        }
    }
}

#[test]
fn counts_cost_no_states() {
    let mut builder = Builder::default();
    builder.name(&[0]).expect("room");
    builder.occurs(5, Some(1_000_000)).expect("room");
    let model = builder.finish(|_, _| false).expect("deterministic");
    assert_eq!((model.states.len(), model.links_count()), (2, 2));
    assert!(!takes(&model, &[b'a'; 4]) && takes(&model, &[b'a'; 5]) && takes(&model, &vec![b'a'; 1_000_000]));
    assert!(!takes(&model, &vec![b'a'; 1_000_001]));
}

#[test]
fn models_have_ceilings() {
    let mut builder = Builder::default();
    let many = (0..5_000).try_for_each(|symbol| builder.name(&[symbol]));
    assert_eq!(many, Err(ModelProblem::TooLarge));
    let mut builder = Builder::default();
    let wide = (0..1_100).try_for_each(|symbol| {
        builder.name(&[symbol])?;
        if symbol > 0 { builder.choice() } else { Ok(()) }
    });
    assert_eq!(wide.and_then(|()| builder.repeated()), Err(ModelProblem::TooLarge));
}
