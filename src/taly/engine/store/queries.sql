-- Every statement that taly sends to its store. Parameters are :named; {now} is the database's (for
-- SQLite the machine's) real time in Unix seconds, {for_update} locks the rows where that exists,
-- {unless_busy} too, and leaves those out that somebody else has locked.

-- name: read_version
select coalesce(max(version), 0) as version from schema_version

-- name: write_version
insert into schema_version (version) values (:version)

-- name: newest_run_id
select max(id) as id from run

-- name: insert_run
insert into run (
    id, environment, purpose, digest, plan, by_whom, created_at,
    owner_by, owner_host, owner_machine, owner_pid, owner_started, lease_until, fence, last_seq,
    for_workers, fits
) values (
    :id, :environment, :purpose, :digest, :plan, :by_whom, :at,
    :owner_by, :owner_host, :owner_machine, :owner_pid, :owner_started, {now} + :lease_s, 1, 0,
    :for_workers, :fits
)
on conflict do nothing
returning id

-- name: lock_run
select id from run where id = :id {for_update}

-- name: get_run
select
    id, environment, purpose, digest, by_whom, created_at, outcome, finished_at, owner_by, owner_host,
    owner_machine, owner_pid, owner_started, lease_until - {now} as lease_left_s, fence, last_seq,
    cancel_by, for_workers, fits, tried, refused
from run where id = :id

-- name: list_runs
select
    id, environment, purpose, digest, by_whom, created_at, outcome, finished_at, owner_by, owner_host,
    owner_machine, owner_pid, owner_started, lease_until - {now} as lease_left_s, fence, last_seq,
    cancel_by, for_workers, fits, tried, refused
from run
where :environment = '' or environment = :environment
order by id desc
limit :limit

-- name: unfinished_run
select
    id, environment, purpose, digest, by_whom, created_at, outcome, finished_at, owner_by, owner_host,
    owner_machine, owner_pid, owner_started, lease_until - {now} as lease_left_s, fence, last_seq,
    cancel_by, for_workers, fits, tried, refused
from run where environment = :environment and outcome is null

-- name: get_plan
select plan from run where id = :id

-- name: take_lease
update run
set
    owner_by = :owner_by, owner_host = :owner_host, owner_machine = :owner_machine,
    owner_pid = :owner_pid, owner_started = :owner_started,
    lease_until = {now} + :lease_s, fence = fence + 1, for_workers = :for_workers
where id = :id
returning fence, last_seq

-- name: waiting_runs
select
    id, environment, purpose, digest, by_whom, created_at, outcome, finished_at, owner_by, owner_host,
    owner_machine, owner_pid, owner_started, lease_until - {now} as lease_left_s, fence, last_seq,
    cancel_by, for_workers, fits, tried, refused
from run
where for_workers = 1 and outcome is null
order by id

-- name: lock_run_unless_busy
select id from run where id = :id and for_workers = 1 and outcome is null {unless_busy}

-- name: hand_over
update run set for_workers = 1, fits = :fits, tried = '', lease_until = 0
where id = :id and outcome is null

-- name: could_not_tell
update run set tried = :tried, for_workers = :for_workers
where id = :id and fence = :fence and outcome is null

-- name: refuse
update run set refused = :refused where id = :id and fence = :fence and outcome is null

-- name: beat
insert into worker (
    id, name, version, environments, since, run_id, says, draining,
    owner_by, owner_host, owner_machine, owner_pid, owner_started, seen
) values (
    :id, :name, :version, :environments, :since, :run_id, :says, :draining,
    :owner_by, :owner_host, :owner_machine, :owner_pid, :owner_started, {now}
)
on conflict (id) do update
set run_id = excluded.run_id, says = excluded.says, draining = excluded.draining,
    environments = excluded.environments, seen = excluded.seen

-- name: list_workers
select
    id, name, version, environments, since, run_id, says, draining,
    owner_by, owner_host, owner_machine, owner_pid, owner_started, {now} - seen as silent_s
from worker order by since, id

-- name: forget_worker
delete from worker where id = :id

-- name: forget_silent_workers
delete from worker where seen < {now} - :silent_s

-- name: renew
update run set lease_until = {now} + :lease_s
where id = :id and fence = :fence and outcome is null
returning id

-- name: let_go
update run set lease_until = 0 where id = :id and fence = :fence and outcome is null

-- name: claim_seq
update run set last_seq = last_seq + :count, lease_until = {now} + :lease_s
where id = :id and fence = :fence and last_seq = :after and outcome is null
returning last_seq, environment

-- name: insert_event
insert into event (run_id, seq, at, fence, body, environment, position, chain)
values (:id, :seq, :at, :fence, :body, :environment, :position, :chain)

-- name: claim_head
insert into chain_head (environment, position, chain) values (:environment, 0, :chain)
on conflict (environment) do update set environment = excluded.environment
returning position, chain

-- name: set_head
update chain_head set position = :position, chain = :chain where environment = :environment

-- name: insert_act
insert into act (environment, position, at, body, chain)
values (:environment, :position, :at, :body, :chain)

-- name: chain_head
select position, chain from chain_head where environment = :environment

-- name: chained
select position, run_id, seq, at, fence, body, chain from event
where environment = :environment and position > :after
union all
select position, '' as run_id, 0 as seq, at, 0 as fence, body, chain from act
where environment = :environment and position > :after
order by position, run_id
limit :limit

-- name: environments
select environment from chain_head
union select environment from run
union select environment from act
union select environment from event
order by environment

-- name: stray_events
select run_id, seq from event where environment = :environment and position < 1
order by run_id, seq limit 1

-- name: unchained_events
select event.run_id, event.seq, event.at, event.fence, event.body, run.environment from event
join run on run.id = event.run_id
where event.chain = '' order by run.environment, event.run_id, event.seq

-- name: chain_event
update event set environment = :environment, position = :position, chain = :chain
where run_id = :id and seq = :seq

-- name: all_marks
select environment, content_id, mark, why, by_whom, at from mark order by environment, at, content_id

-- name: all_recorded
select environment, content_id, members, commit_id, label, at, by_whom from recorded_release
order by environment, at, content_id

-- name: whole_run
select * from run where id = :id

-- name: whole_events
select * from event where run_id = :id order by seq

-- name: events_after
select seq, at, fence, body from event where run_id = :id and seq > :after order by seq

-- name: finish
update run set outcome = :outcome, finished_at = :at, lease_until = 0 where id = :id

-- name: request_cancel
update run set cancel_by = :by_whom where id = :id and outcome is null returning id

-- name: cancel_by
select cancel_by from run where id = :id

-- name: release_names
select content_id, number from release_name where environment = :environment order by number

-- name: next_release_number
select coalesce(max(number), 0) + 1 as number from release_name where environment = :environment

-- name: insert_release_name
insert into release_name (environment, number, content_id, members)
values (:environment, :number, :content_id, :members)

-- name: release_members
select content_id, members from release_name where environment = :environment and members <> ''

-- name: record_release
insert into recorded_release (environment, content_id, members, commit_id, label, at, by_whom)
values (:environment, :content_id, :members, :commit_id, :label, :at, :by_whom)
on conflict (environment, content_id) do update
set commit_id = excluded.commit_id, label = excluded.label, at = excluded.at, by_whom = excluded.by_whom

-- name: recorded_releases
select content_id, members, commit_id, label, at, by_whom from recorded_release
where environment = :environment order by at, content_id

-- name: mark_release
insert into mark (environment, content_id, mark, why, by_whom, at)
values (:environment, :content_id, :mark, :why, :by_whom, :at)
on conflict (environment, content_id) do update
set mark = excluded.mark, why = excluded.why, by_whom = excluded.by_whom, at = excluded.at

-- name: marks
select content_id, mark, why, by_whom, at from mark where environment = :environment

-- name: lock_names
{lock_names}
