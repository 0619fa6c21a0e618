-- A store of schema version 1 as that version's own taly left it: a run of staging that ended, and one of
-- production whose process died with an intent for its third step durable and not sent.
CREATE TABLE run (
    id text primary key,
    environment text not null,
    purpose text not null,
    digest text not null,
    plan text not null,
    by_whom text not null,
    created_at text not null,
    outcome text,
    finished_at text,
    owner_by text not null,
    owner_host text not null,
    owner_machine text not null,
    owner_pid integer not null,
    owner_started text not null,
    lease_until double precision not null,
    fence integer not null,
    last_seq integer not null,
    cancel_by text not null default ''
);
INSERT INTO "run" VALUES('run-1s03s3','staging','rollback','d0','{"format_version":1,"plan":{"environment":"staging","made_at":"2026-01-01T12:00:00Z","purpose":"rollback","from_release":"R2","to_release":"R1","to_content_id":"c1","why":"the last good one","components":[],"steps":[{"id":"roll-back:a","kind":"roll-back","component":"a","provider":"fake","title":"a","address":{},"before":{"value":"old"},"wanted":{"value":"good"},"needs":[],"health":null,"forecast":{"seconds":1.0,"basis":"a read"},"deadline_s":1800.0}],"findings":[],"forecast_s":0.0,"on_failure":"halt","from_since":null,"to_since":null,"digest":"d0"}}','ana@laptop','2026-01-01T12:00:00.117000+00:00','succeeded','2026-01-01T12:00:00.285000+00:00','ana@laptop','laptop','another boot',4711,'1',0.0,1,6,'');
INSERT INTO "run" VALUES('run-1s03s4','production','rollback','d1','{"format_version":1,"plan":{"environment":"production","made_at":"2026-01-01T12:00:00Z","purpose":"rollback","from_release":"R2","to_release":"R1","to_content_id":"c1","why":"the last good one","components":[],"steps":[{"id":"roll-back:a","kind":"roll-back","component":"a","provider":"fake","title":"a","address":{},"before":{"value":"old"},"wanted":{"value":"good"},"needs":[],"health":null,"forecast":{"seconds":1.0,"basis":"a read"},"deadline_s":1800.0},{"id":"roll-back:b","kind":"roll-back","component":"b","provider":"fake","title":"b","address":{},"before":{"value":"old"},"wanted":{"value":"good"},"needs":["roll-back:a"],"health":null,"forecast":{"seconds":1.0,"basis":"a read"},"deadline_s":1800.0},{"id":"roll-back:c","kind":"roll-back","component":"c","provider":"fake","title":"c","address":{},"before":{"value":"old"},"wanted":{"value":"good"},"needs":["roll-back:b"],"health":null,"forecast":{"seconds":1.0,"basis":"a read"},"deadline_s":1800.0},{"id":"roll-back:d","kind":"roll-back","component":"d","provider":"fake","title":"d","address":{},"before":{"value":"old"},"wanted":{"value":"good"},"needs":["roll-back:c"],"health":null,"forecast":{"seconds":1.0,"basis":"a read"},"deadline_s":1800.0}],"findings":[],"forecast_s":0.0,"on_failure":"halt","from_since":null,"to_since":null,"digest":"d1"}}','ana@laptop','2026-01-01T12:00:00.078000+00:00',NULL,NULL,'ana@laptop','laptop','another boot',4711,'1',1700000000.0,1,11,'');
CREATE TABLE event (
    run_id text not null references run (id),
    seq integer not null,
    at text not null,
    fence integer not null,
    body text not null,
    primary key (run_id, seq)
);
INSERT INTO "event" VALUES('run-1s03s3',1,'2026-01-01T12:00:00.117000+00:00',1,'{"plan_digest":"d0","by":"ana@laptop","host":"laptop","version":"0.1.0","kind":"run-started"}');
INSERT INTO "event" VALUES('run-1s03s3',2,'2026-01-01T12:00:00.270000+00:00',1,'{"step":"roll-back:a","kind":"step-started"}');
INSERT INTO "event" VALUES('run-1s03s3',3,'2026-01-01T12:00:00.273000+00:00',1,'{"step":"roll-back:a","key":"run-1s03s3:roll-back:a","kind":"step-intended"}');
INSERT INTO "event" VALUES('run-1s03s3',4,'2026-01-01T12:00:00.277000+00:00',1,'{"step":"roll-back:a","receipt":{"accepted":"run-1s03s3:roll-back:a"},"kind":"step-acted"}');
INSERT INTO "event" VALUES('run-1s03s3',5,'2026-01-01T12:00:00.277000+00:00',1,'{"step":"roll-back:a","how":"acted","state":{"value":"good"},"evidence":[{"call":"fake:Read","at":"2026-01-01T12:00:00.277000Z","says":"good","confidence":"exact"}],"kind":"step-done"}');
INSERT INTO "event" VALUES('run-1s03s3',6,'2026-01-01T12:00:00.285000+00:00',1,'{"outcome":"succeeded","kind":"run-finished"}');
INSERT INTO "event" VALUES('run-1s03s4',1,'2026-01-01T12:00:00.078000+00:00',1,'{"plan_digest":"d1","by":"ana@laptop","host":"laptop","version":"0.1.0","kind":"run-started"}');
INSERT INTO "event" VALUES('run-1s03s4',2,'2026-01-01T12:00:00.175000+00:00',1,'{"step":"roll-back:a","kind":"step-started"}');
INSERT INTO "event" VALUES('run-1s03s4',3,'2026-01-01T12:00:00.175000+00:00',1,'{"step":"roll-back:a","key":"run-1s03s4:roll-back:a","kind":"step-intended"}');
INSERT INTO "event" VALUES('run-1s03s4',4,'2026-01-01T12:00:00.176000+00:00',1,'{"step":"roll-back:a","receipt":{"accepted":"run-1s03s4:roll-back:a"},"kind":"step-acted"}');
INSERT INTO "event" VALUES('run-1s03s4',5,'2026-01-01T12:00:00.176000+00:00',1,'{"step":"roll-back:a","how":"acted","state":{"value":"good"},"evidence":[{"call":"fake:Read","at":"2026-01-01T12:00:00.176000Z","says":"good","confidence":"exact"}],"kind":"step-done"}');
INSERT INTO "event" VALUES('run-1s03s4',6,'2026-01-01T12:00:00.177000+00:00',1,'{"step":"roll-back:b","kind":"step-started"}');
INSERT INTO "event" VALUES('run-1s03s4',7,'2026-01-01T12:00:00.177000+00:00',1,'{"step":"roll-back:b","key":"run-1s03s4:roll-back:b","kind":"step-intended"}');
INSERT INTO "event" VALUES('run-1s03s4',8,'2026-01-01T12:00:00.178000+00:00',1,'{"step":"roll-back:b","receipt":{"accepted":"run-1s03s4:roll-back:b"},"kind":"step-acted"}');
INSERT INTO "event" VALUES('run-1s03s4',9,'2026-01-01T12:00:00.179000+00:00',1,'{"step":"roll-back:b","how":"acted","state":{"value":"good"},"evidence":[{"call":"fake:Read","at":"2026-01-01T12:00:00.179000Z","says":"good","confidence":"exact"}],"kind":"step-done"}');
INSERT INTO "event" VALUES('run-1s03s4',10,'2026-01-01T12:00:00.180000+00:00',1,'{"step":"roll-back:c","kind":"step-started"}');
INSERT INTO "event" VALUES('run-1s03s4',11,'2026-01-01T12:00:00.182000+00:00',1,'{"step":"roll-back:c","key":"run-1s03s4:roll-back:c","kind":"step-intended"}');
CREATE TABLE mark (
    environment text not null,
    content_id text not null,
    mark text not null,
    why text not null,
    by_whom text not null,
    at text not null,
    primary key (environment, content_id)
);
INSERT INTO "mark" VALUES('production','c2','bad','it''s slow; very','ben@laptop','2026-01-01T12:00:00+00:00');
CREATE TABLE recorded_release (
    environment text not null,
    content_id text not null,
    members text not null,
    commit_id text not null,
    label text not null,
    at text not null,
    by_whom text not null,
    primary key (environment, content_id)
);
INSERT INTO "recorded_release" VALUES('production','c2','{"a": "1"}','abc','v2','2026-01-01T12:00:00+00:00','ci');
CREATE TABLE release_name (
    environment text not null,
    number integer not null,
    content_id text not null,
    primary key (environment, content_id),
    unique (environment, number)
);
INSERT INTO "release_name" VALUES('production',1,'c1');
INSERT INTO "release_name" VALUES('production',2,'c2');
CREATE TABLE schema_version (version integer primary key);
INSERT INTO "schema_version" VALUES(1);
CREATE UNIQUE INDEX one_unfinished_run on run (environment) where outcome is null;
