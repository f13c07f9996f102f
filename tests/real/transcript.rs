//! What a case did and saw, kept for the message when it fails.

use std::cell::RefCell;

thread_local! {
    static LINES: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Forgets what the thread's case before has left.
pub fn clear() {
    LINES.with_borrow_mut(String::clear);
}

/// Keeps a paragraph.
pub fn note(text: impl AsRef<str>) {
    LINES.with_borrow_mut(|lines| {
        lines.push_str(text.as_ref().trim_end());
        lines.push('\n');
    });
}

/// Takes what was kept.
pub fn take() -> String {
    LINES.take()
}
