//! Numbers that people carry: cards (`verifyCC`), Brazilian, US and Austrian ones (`verifyCPF`, `verifySSN`,
//! `verifySVNR`).
//!
//! Each function judges one text that the operator's expression found; the engine tries the matches of each
//! start.

/// The digits of `text`.
fn digits(text: &[u8]) -> impl Iterator<Item = u32> + '_ {
    text.iter().filter(|byte| byte.is_ascii_digit()).map(|digit| u32::from(digit - b'0'))
}

/// The first `N` digits of `text`, if there are as many; the rest does not count. A NUL ends the text.
fn first_digits<const N: usize>(text: &[u8]) -> Option<[u32; N]> {
    let mut found = [0; N];
    let text = text.split(|&byte| byte == 0).next()?;
    let mut digits = digits(text);
    for place in &mut found {
        *place = digits.next()?;
    }
    Some(found)
}

/// Tells whether all digits are the same.
fn is_repeated(digits: &[u32]) -> bool {
    digits.windows(2).all(|pair| pair.first() == pair.last())
}

/// Tells whether each digit is one more than the one before; with `wraps`, 0 follows 9.
fn is_counted(digits: &[u32], wraps: bool) -> bool {
    let follows = |a: u32, b: u32| b == a + 1 || wraps && (a, b) == (9, 0);
    digits.windows(2).all(|pair| matches!(pair, [a, b] if follows(*a, *b)))
}

/// `verifyCC`: tells whether the digits of `text` satisfy the check digit of ISO/IEC 7812-1 (Luhn); other
/// bytes between them do not count.
#[must_use]
pub fn is_card(text: &[u8]) -> bool {
    let digits = || digits(text);
    let count = digits().count();
    let sum: u32 = digits()
        .enumerate()
        .map(|(place, digit)| match (count - place) % 2 {
            // Every second one from the right counts twice, by the sum of its digits.
            0 => digit * 2 / 10 + digit * 2 % 10,
            _ => digit,
        })
        .sum();
    count > 0 && sum.is_multiple_of(10)
}

/// `verifyCPF`: tells whether the first eleven digits are a CPF by their two check digits, and not a run.
#[must_use]
pub fn is_cpf(text: &[u8]) -> bool {
    let Some(cpf) = first_digits::<11>(text) else { return false };
    if is_repeated(&cpf) || cpf[0] == 0 && is_counted(&cpf, true) {
        return false;
    }
    let check = |first: u32, digits: &[u32]| {
        let sum: u32 = digits.iter().zip((2..=first).rev()).map(|(digit, weight)| digit * weight).sum();
        match sum % 11 {
            0 | 1 => 0,
            rest => 11 - rest,
        }
    };
    cpf[9] == check(10, &cpf[..9]) && cpf[10] == check(11, &cpf[..10])
}

/// `verifySSN`: tells whether exactly nine digits are there, in areas and groups that are given out.
#[must_use]
pub fn is_ssn(text: &[u8]) -> bool {
    let Some(ssn) = digits(text).nth(9).is_none().then(|| ssn_digits(text)).flatten() else { return false };
    if is_repeated(&ssn) || is_counted(&ssn, false) {
        return false;
    }
    let number = |digits: &[u32]| digits.iter().fold(0, |number, digit| number * 10 + digit);
    let (area, group, serial) = (number(&ssn[..3]), number(&ssn[3..5]), number(&ssn[5..]));
    area != 0 && group != 0 && serial != 0 && area < 740 && area != 666
}

fn ssn_digits(text: &[u8]) -> Option<[u32; 9]> {
    let mut found = [0; 9];
    let mut digits = digits(text);
    for place in &mut found {
        *place = digits.next()?;
    }
    Some(found)
}

/// `verifySVNR`: tells whether the first ten digits are an Austrian insurance number by the check digit, and
/// not a run.
#[must_use]
pub fn is_svnr(text: &[u8]) -> bool {
    let Some(svnr) = first_digits::<10>(text) else { return false };
    if is_repeated(&svnr) || svnr[0] < 2 && is_counted(&svnr, true) {
        return false;
    }
    // The fourth digit is the check digit.
    let weights = [3, 7, 9, 0, 5, 8, 4, 2, 1, 6];
    let sum: u32 = svnr.iter().zip(weights).map(|(digit, weight)| digit * weight).sum();
    svnr[3] == sum % 11 % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_have_a_check_digit() {
        assert!(is_card(b"4111 1111-1111 1111") && is_card(b"378282246310005") && is_card(b"0"));
        assert!(!is_card(b"4111111111111112") && !is_card(b"") && !is_card(b"abc"));
    }

    #[test]
    fn cpfs_have_two_check_digits() {
        assert!(is_cpf(b"529.982.247-25") && is_cpf(b"11144477735") && is_cpf(b"529982247259"));
        assert!(!is_cpf(b"529.982.247-24") && !is_cpf(b"111.111.111-11") && !is_cpf(b"5299822472"));
        assert!(!is_cpf(b"01234567890") && !is_cpf(b"529982\x0024725"));
    }

    #[test]
    fn ssns_have_areas_that_are_given_out() {
        assert!(is_ssn(b"078-05-1120") && !is_ssn(b"987654321"));
        for none in [&b"000-05-1120"[..], b"078-00-1120", b"078-05-0000", b"666-05-1120", b"740-05-1120"] {
            assert!(!is_ssn(none));
        }
        assert!(!is_ssn(b"123456789") && !is_ssn(b"111111111") && !is_ssn(b"078-05-11201"));
    }

    #[test]
    fn svnrs_have_a_check_digit() {
        assert!(is_svnr(b"1237 010180") && is_svnr(b"1237010180"));
        assert!(!is_svnr(b"1238010180") && !is_svnr(b"8888888888") && !is_svnr(b"1234567890"));
        assert!(!is_svnr(b"123701018"));
    }
}
