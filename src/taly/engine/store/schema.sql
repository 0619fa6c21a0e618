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

-- version: 3
-- The audit trail: events and acts of one environment stand in one chain, each with the hash of all
-- before it. What stood here already is chained by the upgrade itself (engine/store/upgrading.py).
alter table event add column environment text not null default '';
alter table event add column position bigint not null default 0;
alter table event add column chain text not null default '';
create unique index one_event_a_position on event (environment, position) where position > 0;

-- What people did outside any run: marks, recorded releases, dropped databases.
create table act (
    environment text not null,
    position bigint not null,
    at text not null,
    body text not null,
    chain text not null,
    primary key (environment, position)
);

create table chain_head (
    environment text primary key,
    position bigint not null,
    chain text not null
);

-- version: 4
-- Runs that workers take: what their components must be set up like, which workers could not see
-- how they end, and why one was not begun. And the workers themselves.
alter table run add column for_workers integer not null default 0;
alter table run add column fits text not null default '';
alter table run add column tried text not null default '';
alter table run add column refused text not null default '';

create table worker (
    id text primary key,
    name text not null,
    version text not null,
    environments text not null,
    since text not null,
    run_id text not null,
    says text not null,
    draining integer not null,
    owner_by text not null,
    owner_host text not null,
    owner_machine text not null,
    owner_pid integer not null,
    owner_started text not null,
    seen double precision not null
);
