"""The queries behind `read_catalog`: PostgreSQL's own catalog, definitions as it prints them.

Every query has two parameters: `schemas` (empty = all but PostgreSQL's own) and `without`
(tables to leave out). Columns are named as the fields of `taly.model.catalog`.
"""

from collections.abc import Mapping

INSTANT = """
SELECT clock_timestamp() AS at, pg_current_snapshot()::text AS snapshot,
  pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
  (SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = current_database())
    AS database_oid,
  current_setting('server_version_num')::int AS server_version
"""
LSN = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_insert_lsn() END::text AS value
"""
SYSTEM = "SELECT system_identifier::text AS value FROM pg_control_system()"

_OURS = """
(n.nspname = ANY (%(schemas)s::text[]) OR %(schemas)s::text[] = '{{}}' AND n.nspname !~ '^pg_'
 AND n.nspname <> 'information_schema')
AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = '{catalog}'::regclass
                AND e.objid = {oid} AND e.deptype = 'e')
"""


def _ours(catalog: str, oid: str) -> str:
    return _OURS.format(catalog=f"pg_catalog.{catalog}", oid=oid)


_RELATIONS = f"""
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {_ours("pg_class", "c.oid")} AND NOT c.relname = ANY (%(without)s::text[])
"""
_OF_RELATIONS = f"(SELECT c.oid {_RELATIONS} AND c.relkind IN ('r', 'p', 'f', 'm', 'v'))"

SCHEMAS = f"""
SELECT n.nspname AS name FROM pg_catalog.pg_namespace n
WHERE {_ours("pg_namespace", "n.oid")} ORDER BY 1
"""
TABLES = f"""
SELECT n.nspname AS schema, c.relname AS name, c.oid::bigint AS oid,
  CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned' ELSE 'foreign' END AS kind,
  ARRAY(SELECT i.inhparent::regclass::text FROM pg_catalog.pg_inherits i
        WHERE i.inhrelid = c.oid ORDER BY i.inhseqno) AS parents,
  coalesce(pg_get_expr(c.relpartbound, c.oid), '') ||
    CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) ELSE '' END AS bound,
  CASE WHEN c.relforcerowsecurity THEN 'forced' WHEN c.relrowsecurity THEN 'on' ELSE 'off' END
    AS row_security,
  pg_get_userbyid(c.relowner) AS owner, coalesce(c.relacl::text, '') AS grants,
  coalesce(obj_description(c.oid, 'pg_class'), '') AS comment
{_RELATIONS} AND c.relkind IN ('r', 'p', 'f') ORDER BY 1, 2
"""
_COLUMNS = f"""
SELECT a.attrelid::bigint AS of, a.attname AS name, a.attnum::int AS attnum,
  format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
  coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS default,
  CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' ELSE '' END AS identity,
  CASE a.attgenerated WHEN 's' THEN 'stored' WHEN 'v' THEN 'virtual' ELSE '' END AS generated,
  CASE WHEN a.attcollation <> t.typcollation THEN
    (SELECT format('%%I.%%I', cn.nspname, co.collname) FROM pg_catalog.pg_collation co
     JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = a.attcollation)
    ELSE '' END AS collation,
  coalesce(col_description(a.attrelid, a.attnum), '') AS comment
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid IN {_OF_RELATIONS}
ORDER BY a.attrelid, a.attnum
"""
_CONSTRAINTS = f"""
SELECT k.conrelid::bigint AS of, k.conname AS name, k.oid::bigint AS oid,
  CASE k.contype WHEN 'p' THEN 'primary' WHEN 'u' THEN 'unique' WHEN 'f' THEN 'foreign'
    WHEN 'c' THEN 'check' WHEN 'x' THEN 'exclude' ELSE 'trigger' END AS kind,
  pg_get_constraintdef(k.oid) AS definition
FROM pg_catalog.pg_constraint k
WHERE k.contype <> 'n' AND k.conparentid = 0 AND k.conislocal AND k.conrelid IN {_OF_RELATIONS}
ORDER BY k.conrelid, k.conname
"""
_INDEXES = f"""
SELECT i.indrelid::bigint AS of, x.relname AS name, x.oid::bigint AS oid,
  pg_get_indexdef(x.oid) AS definition, i.indisunique AS unique, i.indisvalid AS valid
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
WHERE i.indrelid IN {_OF_RELATIONS} AND NOT x.relispartition
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = x.oid
                  AND k.contype IN ('p', 'u', 'x'))
ORDER BY i.indrelid, x.relname
"""
_TRIGGERS = f"""
SELECT t.tgrelid::bigint AS of, t.tgname AS name, t.oid::bigint AS oid,
  pg_get_triggerdef(t.oid) AS definition, t.tgenabled::text AS enabled
FROM pg_catalog.pg_trigger t
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgrelid IN {_OF_RELATIONS}
ORDER BY t.tgrelid, t.tgname
"""
PARTS: Mapping[str, str] = {
    "columns": _COLUMNS,
    "constraints": _CONSTRAINTS,
    "indexes": _INDEXES,
    "triggers": _TRIGGERS,
}
ENUMS = f"""
SELECT n.nspname AS schema, t.typname AS name, t.oid::bigint AS oid,
  ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid
        ORDER BY e.enumsortorder) AS labels
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype = 'e' AND {_ours("pg_type", "t.oid")} ORDER BY 1, 2
"""
VIEWS = f"""
SELECT n.nspname AS schema, c.relname AS name, c.oid::bigint AS oid,
  rtrim(pg_get_viewdef(c.oid), ';') AS definition, c.relkind = 'm' AS materialized,
  coalesce(array_to_string(c.reloptions, ', '), '') AS options
{_RELATIONS} AND c.relkind IN ('v', 'm') ORDER BY 1, 2
"""
FUNCTIONS = f"""
SELECT n.nspname AS schema, p.proname AS name, p.oid::bigint AS oid,
  pg_get_function_identity_arguments(p.oid) AS arguments, pg_get_functiondef(p.oid) AS definition
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.prokind IN ('f', 'p', 'w') AND {_ours("pg_proc", "p.oid")} ORDER BY 1, 2, 4
"""
SEQUENCES = f"""
SELECT n.nspname AS schema, c.relname AS name, c.oid::bigint AS oid,
  format('AS %%s INCREMENT %%s MINVALUE %%s MAXVALUE %%s START %%s CACHE %%s%%s',
    format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
    CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END) AS definition,
  coalesce((SELECT format('%%s.%%I', d.refobjid::regclass, a.attname)
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a
      ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'a'
      AND d.refclassid = 'pg_catalog.pg_class'::regclass), '') AS owner
FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {_ours("pg_class", "c.oid")}
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend i WHERE i.objid = c.oid AND i.deptype = 'i'
                  AND i.classid = 'pg_catalog.pg_class'::regclass)
ORDER BY 1, 2
"""
EXTENSIONS = """
SELECT e.extname AS name, n.nspname AS schema, e.extversion AS version
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY 1
"""
_POLICIES = f"""
SELECT 'policy' AS kind, format('%%I ON %%s', p.polname, p.polrelid::regclass) AS name,
  p.oid::bigint AS oid,
  format('CREATE POLICY %%I ON %%s AS %%s FOR %%s TO %%s%%s%%s', p.polname, p.polrelid::regclass,
    CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
    CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
      WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
    array_to_string(ARRAY(SELECT CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r))
      END FROM unnest(p.polroles) r ORDER BY 1), ', '),
    ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
    ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')') AS definition
FROM pg_catalog.pg_policy p WHERE p.polrelid IN {_OF_RELATIONS} ORDER BY 2
"""
_RULES = f"""
SELECT 'rule' AS kind, format('%%I ON %%s', r.rulename, r.ev_class::regclass) AS name,
  r.oid::bigint AS oid, pg_get_ruledef(r.oid) AS definition
FROM pg_catalog.pg_rewrite r WHERE r.rulename <> '_RETURN' AND r.ev_class IN {_OF_RELATIONS}
ORDER BY 2
"""
_DOMAINS = f"""
SELECT 'domain' AS kind, format('%%I.%%I', n.nspname, t.typname) AS name, t.oid::bigint AS oid,
  format('CREATE DOMAIN %%I.%%I AS %%s%%s%%s%%s', n.nspname, t.typname,
    format_type(t.typbasetype, t.typtypmod), ' DEFAULT ' || t.typdefault,
    CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END,
    (SELECT string_agg(format(' CONSTRAINT %%I %%s', k.conname, pg_get_constraintdef(k.oid)), ''
       ORDER BY k.conname)
     FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')) AS definition
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype = 'd' AND {_ours("pg_type", "t.oid")} ORDER BY 2
"""
_COMPOSITES = f"""
SELECT 'type' AS kind, format('%%I.%%I', n.nspname, c.relname) AS name, c.reltype::bigint AS oid,
  format('CREATE TYPE %%I.%%I AS (%%s)', n.nspname, c.relname,
    (SELECT string_agg(format('%%I %%s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '
       ORDER BY a.attnum)
     FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
       AND NOT a.attisdropped)) AS definition
{_RELATIONS} AND c.relkind = 'c' ORDER BY 2
"""
OTHERS = (_DOMAINS, _COMPOSITES, _POLICIES, _RULES)
