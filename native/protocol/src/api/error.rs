//! Why an answer is not the one that was hoped for.

use std::collections::HashSet;

use crate::error::ErrorCode;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The broker refuses, or the version that it speaks has no way to ask.
    #[error("{}", refusal(*.code, .message.as_deref()))]
    Refused {
        /// Kafka's error code.
        code: ErrorCode,
        /// The broker's own words, if it has any.
        message: Option<String>,
    },
    /// The answer is not one to what was asked.
    #[error("protocol error: {0}")]
    Malformed(String),
}

/// What a broker has said, for people: the name of the code, and its words where it has any.
pub fn refusal(code: ErrorCode, message: Option<&str>) -> String {
    match message {
        Some(message) => format!("{} ({message})", code.name()),
        None => code.name().to_string(),
    }
}

impl ApiError {
    /// `Ok` for code 0.
    pub(crate) fn check(code: i16, message: Option<&str>) -> Result<(), ApiError> {
        let code = ErrorCode(code);
        if code.is_ok() {
            return Ok(());
        }
        let message = message.filter(|text| !text.is_empty()).map(str::to_owned);
        Err(ApiError::Refused { code, message })
    }

    /// An answer without what was asked for.
    pub(crate) fn lacks(api: &str, what: impl std::fmt::Display) -> ApiError {
        ApiError::Malformed(format!("the {api} response lacks {what}"))
    }

    /// An answer that refuses nothing has to say so of each partition: what it does not name was maybe not done.
    pub(crate) fn check_complete<'a>(
        api: &str,
        asked: impl IntoIterator<Item = (&'a str, i32)>,
        answered: &HashSet<(&str, i32)>,
    ) -> Result<(), ApiError> {
        let place = |(topic, partition)| format!("{topic}-{partition}");
        ApiError::check_each(api, asked, |one| answered.contains(one), place)
    }

    /// The same of an answer about things that have names.
    pub(crate) fn check_all_named<'a>(
        api: &str,
        asked: impl IntoIterator<Item = &'a str>,
        answered: &HashSet<&str>,
    ) -> Result<(), ApiError> {
        ApiError::check_each(api, asked, |one| answered.contains(one), str::to_owned)
    }

    fn check_each<T>(
        api: &str,
        asked: impl IntoIterator<Item = T>,
        is_answered: impl Fn(&T) -> bool,
        name: impl FnOnce(T) -> String,
    ) -> Result<(), ApiError> {
        let mut asked = asked.into_iter();
        match asked.find(|one| !is_answered(one)) {
            None => Ok(()),
            Some(missing) => Err(ApiError::lacks(api, name(missing))),
        }
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        ApiError::Refused {
            code,
            message: None,
        }
    }
}

/// `Ok` for code 0, else the refusal.
pub fn check(code: i16) -> Result<(), ApiError> {
    ApiError::check(code, None)
}
