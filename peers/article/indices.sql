CREATE UNIQUE INDEX user_by_id ON user (organization, id);
CREATE UNIQUE INDEX message_by_id ON message (organization, id);
CREATE INDEX message_by_time ON message (organization, recipient, time);
