//! §2: targeted fields: parsing, and what they take the place of.

use cache::policy::{EdgeLifetime, Lifetime, Settings, Targeted};

use crate::desk::{Desk, answer};

fn is_reused(fields: &[(&str, &str)]) -> bool {
    Desk::new().is_reused(answer(200, fields))
}

#[test]
fn a_readable_field_takes_the_place_of_cache_control_and_expires() {
    assert!(is_reused(&[("CDN-Cache-Control", "max-age=60"), ("Cache-Control", "no-store")]));
    assert!(!is_reused(&[("CDN-Cache-Control", "no-store"), ("Cache-Control", "max-age=60")]));
    assert!(!is_reused(&[("CDN-Cache-Control", "foo"), ("Expires", "Thu, 18 Aug 2050 02:01:18 GMT")]));
}

#[test]
fn one_that_is_empty_or_cannot_be_read_is_as_if_absent() {
    for value in ["", "max-age=60,", "&", "MAX-AGE=60", "max-age =60"] {
        assert!(is_reused(&[("CDN-Cache-Control", value), ("Cache-Control", "max-age=60")]), "{value}");
        assert!(!is_reused(&[("CDN-Cache-Control", value), ("Cache-Control", "no-store")]), "{value}");
    }
}

#[test]
fn parameters_and_unknown_directives_are_ignored() {
    assert!(is_reused(&[("CDN-Cache-Control", "max-age=60;foo=bar, x, y=(1 2)")]));
}

#[test]
fn the_zone_chooses_the_list_and_its_order() {
    let fields = [("CDN-Cache-Control", "max-age=60"), ("Surrogate-Control", "no-store")];
    let desk =
        |targeted: &[Targeted]| Desk::with(Settings { targeted: targeted.to_vec(), ..Settings::default() });
    use Targeted::{CdnCacheControl, SurrogateControl};
    assert!(desk(&[CdnCacheControl, SurrogateControl]).is_reused(answer(200, &fields)));
    assert!(!desk(&[SurrogateControl, CdnCacheControl]).is_reused(answer(200, &fields)));
    assert!(!desk(&[]).is_reused(answer(200, &fields)));
}

#[test]
fn surrogate_control_that_says_nothing_of_storing_hides_nothing() {
    let edge = vec![EdgeLifetime { statuses: 200..=299, lifetime: Lifetime::Default(600) }];
    let is_reused = |surrogate: &str, control: &str| {
        let fields = [("Cache-Control", control), ("Surrogate-Control", surrogate)];
        Desk::with(Settings { edge: edge.clone(), ..Settings::default() }).is_reused(answer(200, &fields))
    };
    for surrogate in ["content=\"ESI/1.0\"", "foo", "no-transform", "content=\"ESI/1.0", "public"] {
        for control in ["private", "no-store", "private, no-store", "no-cache"] {
            assert!(!is_reused(surrogate, control), "{surrogate}: {control}");
        }
        assert!(is_reused(surrogate, "max-age=60"), "{surrogate}");
    }
    assert!(is_reused("max-age=60, content=\"ESI/1.0\"", "private"), "it says what holds here");
    for surrogate in ["no-store", "content=\"ESI/1.0\", no-store", "no-store-remote", "private", "no-cache"] {
        assert!(!is_reused(surrogate, "max-age=60"), "{surrogate}");
    }
}
