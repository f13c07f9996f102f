//! The methods that need a person: the questions of the server, and passwords.

use russh::MethodKind;
use russh::client::{AuthResult, KeyboardInteractiveAuthResponse as Interactive, Prompt};

use super::conversation::{Conversation, Went};
use crate::ssh::not_accepted::Skip;
use crate::ssh::text::said;

/// Most rounds of questions: a server could ask for ever.
const ROUNDS: usize = 10;
/// Most questions of one round.
const QUESTIONS: usize = 10;

/// A question to the person.
struct Question<'a> {
    text: &'a str,
    /// Whether the answer may be shown.
    echo: bool,
    /// Whether an answer that the server accepted before may be used again.
    remember: bool,
}

/// An answer of the person.
struct Typed {
    echo: bool,
    text: String,
}

/// Answers the questions of the server.
pub(super) async fn interactive(conversation: &mut Conversation<'_>) -> Went {
    for _ in 0..conversation.target.settings.prompts {
        if !is_there(conversation, "keyboard-interactive") {
            return Went::No;
        }
        conversation.offered("answers to its questions");
        let mut typed = Vec::new();
        let Some(result) = answers(conversation, &mut typed).await else { return Went::No };
        // One hidden answer is a password: it serves when the connection is made again.
        let password = match typed.as_slice() {
            [Typed { echo: false, text }] if is_accepted(&result) => Some(text.clone()),
            _ => None,
        };
        let place = conversation.target.place();
        conversation.commons.keys.answered(&place, password).await;
        let went = conversation.answered(result);
        let still = conversation.accepts(MethodKind::KeyboardInteractive);
        if !matches!(went, Went::No) || !still || typed.is_empty() || conversation.is_over() {
            return went;
        }
    }
    Went::No
}

/// Answers all rounds of one attempt. `None`: a question was not answered, or the connection broke.
async fn answers(conversation: &mut Conversation<'_>, typed: &mut Vec<Typed>) -> Option<AuthResult> {
    let user = conversation.target.user.clone();
    let mut response = conversation.handle.authenticate_keyboard_interactive_start(&user, None).await;
    let mut rounds = 0;
    loop {
        match response {
            Ok(Interactive::InfoRequest { name, instructions, prompts })
                if rounds < ROUNDS && prompts.len() <= QUESTIONS =>
            {
                rounds += 1;
                let heading = said(&format!("{name} {instructions}"));
                let answers = round(conversation, heading, prompts, rounds == 1).await?;
                let texts = answers.iter().map(|a| a.text.clone()).collect();
                typed.extend(answers);
                response = conversation.handle.authenticate_keyboard_interactive_respond(texts).await;
            }
            Ok(Interactive::InfoRequest { .. }) => {
                conversation.skip("its questions", Skip::TooManyQuestions);
                return None;
            }
            Ok(Interactive::Success) => return Some(AuthResult::Success),
            Ok(Interactive::Failure { remaining_methods, partial_success }) => {
                return Some(AuthResult::Failure { remaining_methods, partial_success });
            }
            Err(_) => return None,
        }
    }
}

/// Asks the questions of one round; the heading stands before the first.
async fn round(
    conversation: &mut Conversation<'_>,
    mut heading: String,
    prompts: Vec<Prompt>,
    remember: bool,
) -> Option<Vec<Typed>> {
    let mut answers = Vec::new();
    for prompt in prompts {
        let text = said(&format!("{} {}", std::mem::take(&mut heading), prompt.prompt));
        let question = Question { text: &text, echo: prompt.echo, remember };
        let Some(text) = ask(conversation, question).await else {
            conversation.skip("its questions", Skip::Unanswered);
            return None;
        };
        answers.push(Typed { echo: prompt.echo, text });
    }
    Some(answers)
}

/// Logs in with a password.
pub(super) async fn password(conversation: &mut Conversation<'_>) -> Went {
    for _ in 0..conversation.target.settings.prompts {
        if !is_there(conversation, "password") {
            return Went::No;
        }
        conversation.offered("a password");
        let question = Question { text: "Password:", echo: false, remember: true };
        let Some(password) = ask(conversation, question).await else {
            conversation.skip("a password", Skip::Untyped);
            return Went::No;
        };
        let user = conversation.target.user.clone();
        let Ok(result) = conversation.handle.authenticate_password(&user, password.clone()).await else {
            return Went::No;
        };
        let good = is_accepted(&result);
        let place = conversation.target.place();
        conversation.commons.keys.answered(&place, good.then_some(password)).await;
        let went = conversation.answered(result);
        let still = conversation.accepts(MethodKind::Password);
        if !matches!(went, Went::No) || !still || conversation.is_over() {
            return went;
        }
    }
    Went::No
}

/// Tells whether the server accepted an answer, at least as a part.
fn is_accepted(result: &AuthResult) -> bool {
    !matches!(result, AuthResult::Failure { partial_success: false, .. })
}

/// Tells whether a person can be asked, and notes that none can.
fn is_there(conversation: &mut Conversation<'_>, method: &str) -> bool {
    let is_there = conversation.commons.ask.is_attended();
    if !is_there {
        conversation.skip(method, Skip::NoTerminal);
    }
    is_there
}

/// Asks the person, or returns the answer that the server accepted before.
async fn ask(conversation: &mut Conversation<'_>, question: Question<'_>) -> Option<String> {
    let (place, commons) = (conversation.target.place(), conversation.commons);
    if question.remember
        && !question.echo
        && let Some(answer) = commons.keys.answer(&place).await
    {
        // Used once: if the server no longer accepts it, the person is asked.
        commons.keys.answered(&place, None).await;
        return Some(answer);
    }
    conversation.turn.give_back();
    let _turn = conversation.patience.turn(&commons.person, conversation.end).await?;
    let (ask, text, echo) = (commons.ask.clone(), format!("({place}) {} ", question.text), question.echo);
    let typing = tokio::task::spawn_blocking(move || ask.answer(&text, echo));
    tokio::select! {
        answer = conversation.patience.person(typing) => answer?.ok()?,
        _ = conversation.end.wait() => None,
    }
}
