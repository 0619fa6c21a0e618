-- Read by both databases. Forward only: a new version is a new block, and no block is ever changed.
-- Times of events are the engine's clock (ISO 8601); lease_until is real time (Unix seconds).

-- version: 1
create table run (
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

-- The environment's lock: at most one unfinished run each.
create unique index one_unfinished_run on run (environment) where outcome is null;

create table event (
    run_id text not null references run (id),
    seq integer not null,
    at text not null,
    fence integer not null,
    body text not null,
    primary key (run_id, seq)
);

create table release_name (
    environment text not null,
    number integer not null,
    content_id text not null,
    primary key (environment, content_id),
    unique (environment, number)
);

create table recorded_release (
    environment text not null,
    content_id text not null,
    members text not null,
    commit_id text not null,
    label text not null,
    at text not null,
    by_whom text not null,
    primary key (environment, content_id)
);

create table mark (
    environment text not null,
    content_id text not null,
    mark text not null,
    why text not null,
    by_whom text not null,
    at text not null,
    primary key (environment, content_id)
);

-- version: 2
-- Who the members were when the name was given, so that a vendor that is down takes no name away.
alter table release_name add column members text not null default '';
