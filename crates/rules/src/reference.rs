//! The reference page of the language, written from the crate's own tables so that it cannot lie.
//!
//! A test compares `docs/reference/rules.md` with it. Read next: [`reference`].

use std::fmt::Write as _;

use crate::field::{ALIASES, Field, Source, When};
use crate::function::Function;
use crate::limits::Limits;
use crate::list::ListKind;
use crate::phase::{ActionKind, Phase, Product};
use crate::syntax::Comparison;

const HEAD: &str = "# The rule language

Compatible with the filter language of Cloudflare's rules: expressions move over unchanged. Typed,
without side effects, linear in time. Made from the tables of `crates/rules`; a test compares.

## Values

| type | literals |
| --- | --- |
| Bool | `true`, `false`; a field or call of this type is a condition by itself |
| Int | `12`, `-3`, hexadecimal `0x1f`, octal with a leading zero |
| Bytes | `\"…\"` with `\\\"`, `\\\\`, `\\xHH`, three octal digits; `r\"…\"`, `r#\"…\"#` with none |
| Ip | `192.0.2.1`, `2001:db8::1`, without quotes; in sets also `192.0.2.0/24` and `192.0.2.1..192.0.2.9` |
| Array, Map | from fields and functions only |

In a quoted string right of `matches`, backslashes stay as they are, and a quote inside `[…]` does not
end it.

`[0]` takes an item of an array, `[\"key\"]` an entry of a map. `[*]` stands for every item (or every
value of a map): a comparison then gives an Array(Bool) for `any(…)` or `all(…)`, and a function called
with it in its first argument gives an array, which needs `[*]` again:
`any(lower(http.request.headers.names[*])[*] == \"x-a\")`. Arrays of answers are combined side by side,
and end with the shorter one.

**What is missing.** An entry, item or result that there is none of makes every comparison false, `!=`
too. Functions of it are missing, except `len`, which is 0, and `concat`, for which it is empty. Of no
items, `any` is false and `all` is true. Fields themselves are never missing but have an empty value:
\"\", 0, false, an empty collection; only an address there is none of is missing. No expression can fail
at run time.

Fields keep the values they had when a phase began. What a rule changes is seen by later phases.

";

const LOGIC: &str = "
Logic, tightest first: `not` or `!`, `and` or `&&`, `xor` or `^^`, `or` or `||`; parentheses. Operators
are written in lower case. Addresses of two families are unequal and have no order. A set is written
`{…}` with blanks between values; integers and addresses may be ranges. A list is `$name`. `wildcard`
does not count case, `strict wildcard` does; either must match the whole value, `*` stands for anything,
`\\*` and `\\\\` for themselves, and `**` is refused. Regular expressions work on bytes unless they say
`(?u)`, and match anywhere unless they say `^` or `$`.

";

/// The text of the reference page.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    // Writing to a string cannot fail.
    let _ = write_tables(&mut page);
    page
}

fn write_tables(page: &mut String) -> std::fmt::Result {
    page.push_str("## Operators\n\n| operator | types of its left side |\n| --- | --- |\n");
    for (_, spellings, types) in Comparison::ALL {
        let spellings: Vec<String> = spellings.iter().map(|spelling| format!("`{spelling}`")).collect();
        writeln!(page, "| {} | {types} |", spellings.join(", "))?;
    }
    page.push_str(LOGIC);

    page.push_str("## Functions\n\n");
    page.push_str(
        "`n` is the length of the input in bytes. What is marked ¹ may stand in values of rewrites, ",
    );
    page.push_str("redirects and routes only.\n\n");
    page.push_str("| function | takes → gives | does | steps |\n| --- | --- | --- | --- |\n");
    for row in Function::ALL {
        let mark = if row.rewrites_only { "¹" } else { "" };
        writeln!(page, "| `{}`{mark} | {} | {} | {} |", row.name, row.signature, row.meaning, row.price)?;
    }

    page.push_str("\n## Fields\n\n");
    page.push_str(
        "*derived*: made by the language from others. *no source yet*: nothing in Rempart fills it, so it ",
    );
    page.push_str("has its empty value, and `rempart check` warns of it. ");
    page.push_str("*response*: in phases of the response only.\n\n");
    page.push_str("| field | type | holds | note |\n| --- | --- | --- | --- |\n");
    for field in Field::ALL {
        let row = field.row();
        let mut notes = Vec::new();
        match row.source {
            Source::Given => {}
            Source::Derived => notes.push("derived"),
            Source::Absent => notes.push("no source yet"),
        }
        if row.when == When::Response {
            notes.push("response");
        }
        writeln!(page, "| `{}` | {} | {} | {} |", row.name, row.ty, row.meaning, notes.join(", "))?;
    }
    page.push_str("\nOlder names: ");
    let aliases: Vec<String> =
        ALIASES.iter().map(|(older, today)| format!("`{older}` for `{today}`")).collect();
    writeln!(page, "{}.", aliases.join(", "))?;

    page.push_str(
        "\n## Phases\n\nIn the order they run. Every phase takes `log`, `skip` and `execute` as well.\n\n",
    );
    page.push_str("| phase | response | actions | for |\n| --- | --- | --- | --- |\n");
    for row in Phase::ALL {
        let actions: Vec<String> =
            row.actions.iter().map(|action| format!("`{}`", action.row().name)).collect();
        let response = if row.has_response { "yes" } else { "" };
        writeln!(page, "| `{}` | {response} | {} | {} |", row.name, actions.join(", "), row.meaning)?;
    }

    page.push_str(
        "\n## Actions\n\n| action | ends the phase | parameters | does |\n| --- | --- | --- | --- |\n",
    );
    for row in ActionKind::ALL {
        let ends = if row.is_terminating { "yes" } else { "" };
        let needs = if row.needs_parameters { "needed" } else { "" };
        writeln!(page, "| `{}` | {ends} | {needs} | {} |", row.name, row.meaning)?;
    }
    let products: Vec<String> = Product::ALL.iter().map(|(_, name)| format!("`{name}`")).collect();
    writeln!(page, "\nProducts that `skip` knows: {}.", products.join(", "))?;
    page.push_str(
        "\nA rule with a mistake, without parameters it needs, or switched off does nothing. So does an ",
    );
    page.push_str("`execute` whose ruleset is absent or switched off.\n");

    page.push_str(
        "\n## Lists\n\nOne entry a line; `#` begins a comment at the start of a line or after a blank.\n\n",
    );
    page.push_str("| kind | looked up by |\n| --- | --- |\n");
    for (kind, name) in ListKind::ALL {
        writeln!(page, "| `{name}` | {} |", kind.scalar())?;
    }

    let limits = Limits::default();
    page.push_str("\n## Limits\n\n| what | at most |\n| --- | --- |\n");
    for (what, most) in [
        ("bytes of an expression", limits.expression_bytes_max),
        ("parentheses, `not` and calls inside one another", limits.depth_max),
        ("parts of an expression", limits.nodes_max),
        ("values in a set", limits.set_items_max),
        ("regular expressions in an expression", limits.patterns_max),
        ("bytes of a compiled regular expression", limits.pattern_bytes_max),
        ("stars in a wildcard", limits.stars_max),
        ("rules in a phase", limits.rules_max),
        ("rulesets executed inside one another", limits.execute_depth_max),
        ("entries of a list", limits.list_entries_max),
    ] {
        writeln!(page, "| {what} | {most} |")?;
    }
    page.push_str(
        "\nWork is counted in steps of about a nanosecond: 2 for each operator, 4 for each value, ",
    );
    page.push_str(
        "2 for each item, 2 for each byte of a value that many rules look into, 2 to 64 for each byte a ",
    );
    page.push_str(
        "regular expression is tried on, by its size, 40 for each rule that matches and for each thing it ",
    );
    page.push_str("does, 1 for each byte it writes. A request that spends its budget is refused, and ");
    page.push_str("the rule is named.\n");
    Ok(())
}
