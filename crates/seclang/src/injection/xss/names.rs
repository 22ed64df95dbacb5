//! The names that make tags and attributes dangerous: libinjection's data (BSD-3-Clause, Nick Galbreath and
//! others), in a form of our own.
//!
//! NULs inside names do not count, as in old versions of Internet Explorer. Called by [`super::detect`].

/// Tags that load or run something.
const TAGS: [&[u8]; 20] = [
    b"APPLET",
    b"BASE",
    b"COMMENT",
    b"EMBED",
    b"FRAME",
    b"FRAMESET",
    b"HANDLER",
    b"IFRAME",
    b"IMPORT",
    b"ISINDEX",
    b"LINK",
    b"LISTENER",
    b"META",
    b"NOSCRIPT",
    b"OBJECT",
    b"SCRIPT",
    b"STYLE",
    b"VMLFRAME",
    b"XML",
    b"XSS",
];

/// Events, without the `on` of their attributes, divided by commas; sorted.
const EVENTS: &str = "\
    ABORT,ACTIVATE,ACTIVE,ADDSOURCEBUFFER,ADDSTREAM,ADDTRACK,AFTERPRINT,ANIMATIONCANCEL,ANIMATIONEND,\
    ANIMATIONITERATION,ANIMATIONSTART,AUDIOEND,AUDIOPROCESS,AUDIOSTART,AUTOCOMPLETE,\
    AUTOCOMPLETEERROR,BEFOREACTIVATE,BEFORECOPY,BEFORECUT,BEFOREINPUT,BEFORELOAD,BEFOREPASTE,\
    BEFOREPRINT,BEFOREUNLOAD,BEGINEVENT,BLOCKED,BLUR,BOUNDARY,BUFFEREDAMOUNTLOW,CACHED,CANCEL,\
    CANPLAY,CANPLAYTHROUGH,CHANGE,CHARGINGCHANGE,CHARGINGTIMECHANGE,CHECKING,CLICK,CLOSE,COMPLETE,\
    COMPOSITIONEND,COMPOSITIONSTART,COMPOSITIONUPDATE,CONNECT,CONNECTING,CONNECTIONSTATECHANGE,\
    CONTEXTMENU,CONTROLLERCHANGE,COPY,CUECHANGE,CUT,DATAAVAILABLE,DATACHANNEL,DBLCLICK,DEVICECHANGE,\
    DEVICEMOTION,DEVICEORIENTATION,DISCHARGINGTIMECHANGE,DISCONNECT,DOMACTIVATE,\
    DOMCHARACTERDATAMODIFIED,DOMCONTENTLOADED,DOMFOCUSIN,DOMFOCUSOUT,DOMNODEINSERTED,\
    DOMNODEINSERTEDINTODOCUMENT,DOMNODEREMOVED,DOMNODEREMOVEDFROMDOCUMENT,DOMSUBTREEMODIFIED,\
    DOWNLOADING,DRAG,DRAGEND,DRAGENTER,DRAGLEAVE,DRAGOVER,DRAGSTART,DROP,DURATIONCHANGE,EMPTIED,\
    ENCRYPTED,END,ENDED,ENDEVENT,ENTER,ENTERPICTUREINPICTURE,ERROR,EXIT,FETCH,FINISH,FOCUS,FOCUSIN,\
    FOCUSOUT,FORMCHANGE,FORMINPUT,GAMEPADCONNECTED,GAMEPADDISCONNECTED,GESTURECHANGE,GESTUREEND,\
    GESTURESCROLLEND,GESTURESCROLLSTART,GESTURESCROLLUPDATE,GESTURESTART,GESTURETAP,GESTURETAPDOWN,\
    GOTPOINTERCAPTURE,HASHCHANGE,ICECANDIDATE,ICECANDIDATEERROR,ICECONNECTIONSTATECHANGE,\
    ICEGATHERINGSTATECHANGE,INACTIVE,INPUT,INPUTSOURCESCHANGE,INSTALL,INVALID,KEYDOWN,KEYPRESS,\
    KEYSTATUSESCHANGE,KEYUP,LANGUAGECHANGE,LEAVEPICTUREINPICTURE,LEVELCHANGE,LOAD,LOADEDDATA,\
    LOADEDMETADATA,LOADEND,LOADING,LOADINGDONE,LOADINGERROR,LOADSTART,LOSTPOINTERCAPTURE,MARK,\
    MERCHANTVALIDATION,MESSAGE,MESSAGEERROR,MOUSEDOWN,MOUSEENTER,MOUSELEAVE,MOUSEMOVE,MOUSEOUT,\
    MOUSEOVER,MOUSEUP,MOUSEWHEEL,MUTE,NEGOTIATIONNEEDED,NEXTTRACK,NOMATCH,NOUPDATE,OBSOLETE,OFFLINE,\
    ONLINE,OPEN,ORIENTATIONCHANGE,OVERCONSTRAINED,OVERFLOWCHANGED,PAGEHIDE,PAGESHOW,PASTE,PAUSE,\
    PAYERDETAILCHANGE,PAYMENTAUTHORIZED,PAYMENTMETHODCHANGE,PAYMENTMETHODSELECTED,PLAY,PLAYING,\
    POINTERCANCEL,POINTERDOWN,POINTERENTER,POINTERLEAVE,POINTERLOCKCHANGE,POINTERLOCKERROR,\
    POINTERMOVE,POINTEROUT,POINTEROVER,POINTERUP,POPSTATE,PREVIOUSTRACK,PROCESSORERROR,PROGRESS,\
    PROPERTYCHANGE,RATECHANGE,READYSTATECHANGE,REJECTIONHANDLED,REMOVE,REMOVESOURCEBUFFER,\
    REMOVESTREAM,REMOVETRACK,RESET,RESIZE,RESOURCETIMINGBUFFERFULL,RESULT,RESUME,SCROLL,SEARCH,\
    SECURITYPOLICYVIOLATION,SEEKED,SEEKING,SELECT,SELECTEND,SELECTIONCHANGE,SELECTSTART,\
    SHIPPINGADDRESSCHANGE,SHIPPINGCONTACTSELECTED,SHIPPINGMETHODSELECTED,SHIPPINGOPTIONCHANGE,SHOW,\
    SIGNALINGSTATECHANGE,SLOTCHANGE,SOUNDEND,SOUNDSTART,SOURCECLOSE,SOURCEENDED,SOURCEOPEN,SPEECHEND,\
    SPEECHSTART,SQUEEZE,SQUEEZEEND,SQUEEZESTART,STALLED,START,STARTED,STATECHANGE,STOP,STORAGE,\
    SUBMIT,SUCCESS,SUSPEND,TEXTINPUT,TIMEOUT,TIMEUPDATE,TOGGLE,TONECHANGE,TOUCHCANCEL,TOUCHEND,\
    TOUCHFORCECHANGE,TOUCHMOVE,TOUCHSTART,TRACK,TRANSITIONCANCEL,TRANSITIONEND,TRANSITIONRUN,\
    TRANSITIONSTART,UNCAPTUREDERROR,UNHANDLEDREJECTION,UNLOAD,UNMUTE,UPDATE,UPDATEEND,UPDATEFOUND,\
    UPDATEREADY,UPDATESTART,UPGRADENEEDED,VALIDATEMERCHANT,VERSIONCHANGE,VISIBILITYCHANGE,\
    VOLUMECHANGE,WAITING,WAITINGFORKEY,WEBGLCONTEXTCHANGED,WEBGLCONTEXTCREATIONERROR,\
    WEBGLCONTEXTLOST,WEBGLCONTEXTRESTORED,WEBKITANIMATIONEND,WEBKITANIMATIONITERATION,\
    WEBKITANIMATIONSTART,WEBKITBEFORETEXTINSERTED,WEBKITBEGINFULLSCREEN,\
    WEBKITCURRENTPLAYBACKTARGETISWIRELESSCHANGED,WEBKITENDFULLSCREEN,WEBKITFULLSCREENCHANGE,\
    WEBKITFULLSCREENERROR,WEBKITKEYADDED,WEBKITKEYERROR,WEBKITKEYMESSAGE,WEBKITMOUSEFORCECHANGED,\
    WEBKITMOUSEFORCEDOWN,WEBKITMOUSEFORCEUP,WEBKITMOUSEFORCEWILLBEGIN,WEBKITNEEDKEY,\
    WEBKITNETWORKINFOCHANGE,WEBKITPLAYBACKTARGETAVAILABILITYCHANGED,WEBKITPRESENTATIONMODECHANGED,\
    WEBKITREGIONOVERSETCHANGE,WEBKITREMOVESOURCEBUFFER,WEBKITSOURCECLOSE,WEBKITSOURCEENDED,\
    WEBKITSOURCEOPEN,WEBKITSPEECHCHANGE,WEBKITTRANSITIONEND,WEBKITWILLREVEALBOTTOM,\
    WEBKITWILLREVEALLEFT,WEBKITWILLREVEALRIGHT,WEBKITWILLREVEALTOP,WHEEL,WRITE,WRITEEND,WRITESTART,\
    ZOOM";

/// What an attribute's value may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attribute {
    /// Runs whatever the value is.
    Dangerous,
    /// Is a URL.
    Url,
    /// Is CSS.
    Style,
    /// Is the name of another attribute (SVG).
    Name,
}

/// Attributes other than those of events.
const ATTRIBUTES: [(&[u8], Attribute); 20] = [
    (b"ACTION", Attribute::Url),
    (b"ATTRIBUTENAME", Attribute::Name),
    (b"BY", Attribute::Url),
    (b"BACKGROUND", Attribute::Url),
    (b"DATAFORMATAS", Attribute::Dangerous),
    (b"DATASRC", Attribute::Dangerous),
    (b"DYNSRC", Attribute::Url),
    (b"FILTER", Attribute::Style),
    (b"FORMACTION", Attribute::Url),
    (b"FOLDER", Attribute::Url),
    (b"FROM", Attribute::Url),
    (b"HANDLER", Attribute::Url),
    (b"HREF", Attribute::Url),
    (b"LOWSRC", Attribute::Url),
    (b"POSTER", Attribute::Url),
    (b"SRC", Attribute::Url),
    (b"STYLE", Attribute::Style),
    (b"TO", Attribute::Url),
    (b"VALUES", Attribute::Url),
    (b"XLINK:HREF", Attribute::Url),
];

/// Tells whether `text`, NULs left out, is `upper` in any case.
pub(super) fn is_ignoring_nulls(upper: &[u8], text: &[u8]) -> bool {
    let mut expected = upper.iter();
    let is_same = text
        .iter()
        .filter(|&&byte| byte != 0)
        .all(|byte| expected.next().is_some_and(|upper| *upper == byte.to_ascii_uppercase()));
    is_same && expected.next().is_none()
}

/// Tells whether a tag loads or runs something.
pub(super) fn is_tag_dangerous(name: &[u8]) -> bool {
    let starts = |word: &[u8]| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    name.len() >= 3
        && (TAGS.iter().any(|tag| is_ignoring_nulls(tag, name)) || starts(b"SVG") || starts(b"XSL"))
}

/// What the attribute of this name may do.
pub(super) fn attribute(name: &[u8]) -> Option<Attribute> {
    if name.len() < 2 {
        return None;
    }
    if name.len() >= 5 {
        if let [b'o' | b'O', b'n' | b'N', event @ ..] = name
            && is_event(event)
        {
            return Some(Attribute::Dangerous);
        }
        // With namespaces tags can be made of any name.
        let start = name.get(..5).unwrap_or_default();
        if start.eq_ignore_ascii_case(b"XMLNS") || start.eq_ignore_ascii_case(b"XLINK") {
            return Some(Attribute::Dangerous);
        }
    }
    ATTRIBUTES.iter().find(|(known, _)| is_ignoring_nulls(known, name)).map(|&(_, attribute)| attribute)
}

/// Where in [`EVENTS`] those of each letter start.
static FIRST: [u16; 27] = first();

const fn first() -> [u16; 27] {
    let text = EVENTS.as_bytes();
    let (mut first, mut letter, mut at) = ([text.len() as u16; 27], 0, 0);
    while at < text.len() {
        if at == 0 || text[at - 1] == b',' {
            while letter < 26 && b'A' + letter <= text[at] {
                first[letter as usize] = at as u16;
                letter += 1;
            }
        }
        at += 1;
    }
    first
}

/// Tells whether a name starts with that of an event.
fn is_event(name: &[u8]) -> bool {
    let Some(letter @ b'A'..=b'Z') = name.first().map(u8::to_ascii_uppercase) else { return false };
    let letter = usize::from(letter - b'A');
    let range = usize::from(FIRST[letter])..usize::from(FIRST[letter + 1]);
    let events = EVENTS.as_bytes().get(range).unwrap_or_default();
    events
        .split(|&byte| byte == b',')
        .filter(|event| !event.is_empty())
        .any(|event| name.get(..event.len()).is_some_and(|start| start.eq_ignore_ascii_case(event)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_found_by_its_first_letter() {
        let events: Vec<_> = EVENTS.split(',').collect();
        assert!(events.is_sorted() && events.len() == 298);
        for event in events {
            assert!(is_event(event.as_bytes()) && is_event(format!("{}x", event.to_lowercase()).as_bytes()));
        }
        for none in [&b""[..], b"ERRO", b"QUX", b"{", b"AB"] {
            assert!(!is_event(none));
        }
    }
}
