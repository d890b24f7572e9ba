//! Every statement, prepared once. Writes carry their timestamp as the first value.

use crate::OpenError;
use scylla::client::session::Session;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement::prepared::PreparedStatement;
use std::sync::Arc;
use std::time::Duration;

/// What acks wait for is asked of another node too when there is no answer for so long: one that
/// died, or that waits for one which died, would hold them for the whole timeout.
const HEDGE: Duration = Duration::from_secs(1);

macro_rules! statements {
    ($($name:ident: $text:expr,)*) => {
        /// Names of statements.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Statement { $($name,)* }

        const TEXTS: &[(Statement, &str)] = &[$((Statement::$name, $text),)*];
    };
}

statements! {
    // Values in this order: timestamp, what is set, key.
    PutMessage: "UPDATE messages USING TIMESTAMP ? SET time_us=?, sender=?, kind=?, target=?, \
        hash=?, body=? WHERE low=? AND high=? AND bucket=? AND conv_seq=?",
    PutSent: "UPDATE messages USING TIMESTAMP ? SET time_us=?, sender=?, kind=?, target=?, \
        hash=?, body=?, outbox=?, n=? WHERE low=? AND high=? AND bucket=? AND conv_seq=?",
    PutOrigin: "UPDATE messages USING TIMESTAMP ? SET outbox=?, n=? \
        WHERE low=? AND high=? AND bucket=? AND conv_seq=?",
    Empty: "UPDATE messages USING TIMESTAMP ? SET body=0x, emptied=true \
        WHERE low=? AND high=? AND bucket=? AND conv_seq=?",
    PutChange: "UPDATE messages USING TIMESTAMP ? SET changed=? \
        WHERE low=? AND high=? AND bucket=? AND conv_seq=?",
    PutEntry: "UPDATE inbox USING TIMESTAMP ? SET entry=? \
        WHERE user=? AND bucket=? AND inbox_seq=?",
    Trim: "DELETE FROM inbox USING TIMESTAMP ? WHERE user=? AND bucket=? AND inbox_seq<=?",
    PutConversation: "UPDATE conversations USING TIMESTAMP ? SET head=?, time_us=? \
        WHERE low=? AND high=?",
    PutNext: "UPDATE conversations USING TIMESTAMP ? SET next=? \
        WHERE low=? AND high=? AND sender=? AND outbox=?",
    PutOutboxDevice: "UPDATE conversations USING TIMESTAMP ? SET device=? \
        WHERE low=? AND high=? AND sender=? AND outbox=?",
    PutHead: "UPDATE users USING TIMESTAMP ? SET head=? WHERE user=?",
    PutEpoch: "UPDATE users USING TIMESTAMP ? SET epoch=? WHERE user=?",
    PutTrimmed: "UPDATE users USING TIMESTAMP ? SET trimmed=? WHERE user=?",
    PutLastSeen: "UPDATE users USING TIMESTAMP ? SET last_seen_us=? WHERE user=?",
    PutPrivacy: "UPDATE users USING TIMESTAMP ? SET privacy=? WHERE user=?",
    PutCursor: "UPDATE devices USING TIMESTAMP ? SET acked=? WHERE user=? AND device=?",
    PutDevice: "UPDATE devices USING TIMESTAMP ? SET info=? WHERE user=? AND device=?",
    Revoke: "UPDATE devices USING TIMESTAMP ? SET revoked=true WHERE user=? AND device=?",
    PutCommandNext: "UPDATE command_outboxes USING TIMESTAMP ? SET next=? \
        WHERE user=? AND outbox=?",
    PutCommandDevice: "UPDATE command_outboxes USING TIMESTAMP ? SET device=? \
        WHERE user=? AND outbox=?",
    PutContact: "UPDATE contacts USING TIMESTAMP ? SET contact=? WHERE user=? AND peer=?",
    PutBlock: "UPDATE contacts USING TIMESTAMP ? SET blocked=? WHERE user=? AND peer=?",
    PutTaken: "UPDATE members USING TIMESTAMP ? SET taken=? WHERE user=? AND peer=?",
    PutRead: "UPDATE members USING TIMESTAMP ? SET read=? WHERE user=? AND peer=?",
    PutLastInbox: "UPDATE members USING TIMESTAMP ? SET last_inbox=? WHERE user=? AND peer=?",
    PutSettings: "UPDATE members USING TIMESTAMP ? SET settings=? WHERE user=? AND peer=?",
    PutMark: "UPDATE marks USING TIMESTAMP ? SET value=? \
        WHERE user=? AND peer=? AND kind=? AND id=?",
    PutCheckpoint: "UPDATE checkpoints USING TIMESTAMP ? SET upto=?, flushed_us=? \
        WHERE log=? AND core=?",

    PutLogBlock: "UPDATE log_blocks USING TIMESTAMP ? SET place=?, length=?, bytes=? \
        WHERE node=? AND generation=? AND core=? AND segment=? AND n=?",
    DropSegment: "DELETE FROM log_blocks USING TIMESTAMP ? \
        WHERE node=? AND generation=? AND core=? AND segment=?",
    PutFirst: "UPDATE logs USING TIMESTAMP ? SET first=? WHERE node=? AND generation=? AND core=?",
    PutInFlight: "UPDATE logs USING TIMESTAMP ? SET in_flight_max=? \
        WHERE node=? AND generation=? AND core=?",
    PutOldest: "UPDATE logs USING TIMESTAMP ? SET oldest=? WHERE node=?",
    Unlist: "DELETE FROM logs USING TIMESTAMP ? WHERE node=? AND generation=? AND core=?",

    DeleteChange: "DELETE changed FROM messages USING TIMESTAMP ? \
        WHERE low=? AND high=? AND bucket=? AND conv_seq=?",
    DeletePrivacy: "DELETE privacy FROM users USING TIMESTAMP ? WHERE user=?",
    DeleteLastSeen: "DELETE last_seen_us FROM users USING TIMESTAMP ? WHERE user=?",
    DeleteCursor: "DELETE acked FROM devices USING TIMESTAMP ? WHERE user=? AND device=?",
    DeleteDevice: "DELETE info FROM devices USING TIMESTAMP ? WHERE user=? AND device=?",
    DeleteRevoked: "DELETE revoked FROM devices USING TIMESTAMP ? WHERE user=? AND device=?",
    DeleteContact: "DELETE contact FROM contacts USING TIMESTAMP ? WHERE user=? AND peer=?",
    DeleteBlock: "DELETE blocked FROM contacts USING TIMESTAMP ? WHERE user=? AND peer=?",
    DeleteRead: "DELETE read FROM members USING TIMESTAMP ? WHERE user=? AND peer=?",
    DeleteLastInbox: "DELETE last_inbox FROM members USING TIMESTAMP ? WHERE user=? AND peer=?",
    DeleteSettings: "DELETE settings FROM members USING TIMESTAMP ? WHERE user=? AND peer=?",
    DeleteMark: "DELETE value FROM marks USING TIMESTAMP ? \
        WHERE user=? AND peer=? AND kind=? AND id=?",

    GetConversation: "SELECT head, time_us, sender, outbox, next, device FROM conversations \
        WHERE low=? AND high=?",
    GetConversationHead: "SELECT DISTINCT head FROM conversations WHERE low=? AND high=?",
    GetUser: "SELECT head, epoch, trimmed, last_seen_us, privacy FROM users WHERE user=?",
    GetDevices: "SELECT device, acked, info, revoked FROM devices WHERE user=?",
    GetCommandOutboxes: "SELECT outbox, next, device FROM command_outboxes WHERE user=?",
    GetMember: "SELECT taken, read, last_inbox, settings FROM members WHERE user=? AND peer=?",
    GetMembers: "SELECT peer, last_inbox FROM members WHERE user=?",
    GetMarks: "SELECT kind, id, value FROM marks WHERE user=? AND peer=?",
    GetContact: "SELECT contact, blocked FROM contacts WHERE user=? AND peer=?",
    GetContacts: "SELECT peer, contact, blocked FROM contacts WHERE user=? AND peer>=? LIMIT ?",
    GetMessages: "SELECT conv_seq, time_us, sender, outbox, n, kind, target, hash, body, emptied, \
        changed FROM messages WHERE low=? AND high=? AND bucket=? \
        AND conv_seq>=? AND conv_seq<=? LIMIT ?",
    GetMessagesAt: "SELECT conv_seq, time_us, sender, outbox, n, kind, target, hash, body, \
        emptied, changed FROM messages WHERE low=? AND high=? AND bucket=? AND conv_seq IN ?",
    GetMessagesDown: "SELECT conv_seq, time_us, sender, outbox, n, kind, target, hash, body, \
        emptied, changed FROM messages WHERE low=? AND high=? AND bucket=? \
        AND conv_seq>=? AND conv_seq<=? ORDER BY conv_seq DESC LIMIT ?",
    GetPlaces: "SELECT conv_seq, sender, kind FROM messages WHERE low=? AND high=? AND bucket=? \
        AND conv_seq>=? AND conv_seq<=?",
    GetSeal: "SELECT incarnation FROM seals WHERE node=?",
    GetLogs: "SELECT oldest, generation, core, first, in_flight_max FROM logs WHERE node=?",
    GetLogBlocks: "SELECT n, place, length, bytes FROM log_blocks \
        WHERE node=? AND generation=? AND core=? AND segment=?",
    GetFirstLogBlock: "SELECT n FROM log_blocks \
        WHERE node=? AND generation=? AND core=? AND segment=? LIMIT 1",
    GetEntries: "SELECT inbox_seq, entry FROM inbox WHERE user=? AND bucket=? \
        AND inbox_seq>=? AND inbox_seq<=? LIMIT ?",
}

/// Of those that acks wait for.
const HEDGED: [Statement; 2] = [Statement::PutLogBlock, Statement::GetSeal];

/// The prepared statements.
pub struct Prepared(Vec<PreparedStatement>);

impl Prepared {
    /// Prepares all of them.
    pub async fn new(
        session: &Session,
        open_error: impl Fn(String) -> OpenError,
    ) -> Result<Prepared, OpenError> {
        let mut all = Vec::with_capacity(TEXTS.len());
        let again = SimpleSpeculativeExecutionPolicy { max_retry_count: 2, retry_interval: HEDGE };
        let profile = session.get_default_execution_profile_handle().pointee_to_builder();
        let profile = profile.speculative_execution_policy(Some(Arc::new(again))).build();
        let hedged = profile.into_handle();
        for (name, text) in TEXTS {
            let prepared = session.prepare(*text).await;
            let mut prepared = prepared.map_err(|error| open_error(error.to_string()))?;
            prepared.set_is_idempotent(true);
            if HEDGED.contains(name) {
                prepared.set_execution_profile_handle(Some(hedged.clone()));
            }
            all.push(prepared);
        }
        Ok(Prepared(all))
    }

    /// One of them.
    pub fn get(&self, statement: Statement) -> &PreparedStatement {
        &self.0[statement as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_stands_at_its_name() {
        for (index, (name, _)) in TEXTS.iter().enumerate() {
            assert_eq!(*name as usize, index);
        }
    }
}
