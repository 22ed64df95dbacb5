//! §3.5: storing responses to authenticated requests.

use cache::policy::NotStored;

use crate::desk::{Desk, controlled};

const AUTHORIZED: [(&str, &str); 1] = [("Authorization", "Basic eDp5")];

#[test]
fn an_authorised_answer_is_not_for_others_unless_it_says_so() {
    let seen = Desk::new().get(&AUTHORIZED, controlled("max-age=60"));
    assert_eq!(seen.not_stored, Some(NotStored::Authorization));
    for value in ["max-age=60, public", "max-age=60, must-revalidate", "s-maxage=60"] {
        let mut desk = Desk::new();
        desk.get(&AUTHORIZED, controlled(value));
        assert!(desk.again(&[]).is_hit(), "{value}");
        assert!(desk.again(&AUTHORIZED).is_hit(), "{value}");
    }
    let broken = Desk::new().get(&AUTHORIZED, controlled("max-age=60, s-maxage=x"));
    assert_eq!(broken.not_stored, Some(NotStored::Authorization));
}

#[test]
fn an_answer_for_everybody_is_for_the_authorised_too() {
    let mut desk = Desk::new();
    desk.get(&[], controlled("max-age=60"));
    assert!(desk.again(&AUTHORIZED).is_hit());
}
