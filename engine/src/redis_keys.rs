//! The keys of Redis.

use crate::config_keys::{Key, has_port, number, plain};

/// `redis.address`.
pub const ADDRESS: Key = Key {
    name: "redis.address",
    unit: "host:port",
    meaning: "a Redis for recent messages, heartbeats and routes; empty: none; never needed",
    cost: "memory at Redis; what is in it comes from the store when it is lost",
    get: |config| config.redis_address.clone(),
    set: |config, text| {
        if !text.is_empty() && !has_port(text) {
            return Err("host:port, as in 127.0.0.1:6379, or empty".to_owned());
        }
        config.redis_address = text.to_owned();
        Ok(())
    },
};

/// `redis.user`.
pub const USER: Key = Key {
    name: "redis.user",
    unit: "name",
    meaning: "user at Redis; empty: the default one",
    cost: "nothing",
    get: |config| config.redis_user.clone(),
    set: |config, text| {
        config.redis_user = text.to_owned();
        Ok(())
    },
};

/// `redis.password`.
pub const PASSWORD: Key = Key {
    name: "redis.password",
    unit: "text",
    meaning: "that user's password, never shown; others see flags, so use file or environment",
    cost: "nothing",
    get: |config| if config.redis_password.is_empty() { "" } else { "(set)" }.to_owned(),
    set: |config, text| {
        config.redis_password = text.to_owned();
        Ok(())
    },
};

/// `redis.tls`.
pub const TLS: Key = Key {
    name: "redis.tls",
    unit: "true|false",
    meaning: "speak TLS with Redis, whose certificate must be valid for redis.address",
    cost: "processor time; without it others on the way read messages and the password",
    get: |config| config.redis_tls.to_string(),
    set: |config, text| {
        config.redis_tls = text.parse().map_err(|_| "true or false")?;
        Ok(())
    },
};

/// `redis.ca_file`.
pub const CA_FILE: Key = Key {
    name: "redis.ca_file",
    unit: "path",
    meaning: "who may sign that certificate, PEM; empty: whom the system trusts",
    cost: "nothing",
    get: |config| config.redis_ca_file.display().to_string(),
    set: |config, text| {
        config.redis_ca_file = text.into();
        Ok(())
    },
};

/// `redis.prefix`.
pub const PREFIX: Key = Key {
    name: "redis.prefix",
    unit: "name",
    meaning: "what every key in Redis begins with",
    cost: "servers that do not belong together must not share it",
    get: |config| config.redis_prefix.clone(),
    set: |config, text| {
        config.redis_prefix = plain(text, 48, "_-")?;
        Ok(())
    },
};

/// `redis.window_s`.
pub const WINDOW_S: Key = Key {
    name: "redis.window_s",
    unit: "s",
    meaning: "a conversation's newest 100 messages stay in Redis so long after the last one",
    cost: "memory at Redis; a body deleted while Redis is away stays there as long, unread",
    get: |config| config.redis_window_s.to_string(),
    set: |config, text| {
        config.redis_window_s = number(text, 1..=31_536_000)?;
        Ok(())
    },
};
