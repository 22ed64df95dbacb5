//! The side of an exchange that has no visitor: a request of the node's own, such as a fetch for the cache.
//!
//! There is no body to read, nobody leaves, and what is answered goes nowhere but for interim answers, which
//! may be of use to somebody who waits. Made by [`crate::Exchange::of_nobody`].

use exchange::Response;

/// Who is told of interim answers.
pub type Informed = Box<dyn Fn(&Response)>;

/// See the module.
pub(crate) struct Nobody {
    informed: Informed,
}

impl Nobody {
    pub(crate) fn new(informed: Informed) -> Self {
        Self { informed }
    }

    pub(crate) fn inform(&self, response: &Response) {
        (self.informed)(response);
    }
}
