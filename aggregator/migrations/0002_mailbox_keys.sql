-- A roster refuses two members with one mailbox key, so the second must not get in: it would keep every round from starting.
CREATE UNIQUE INDEX members_by_mailbox_key ON members (mailbox_key);
