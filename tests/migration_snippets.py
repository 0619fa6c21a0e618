"""Short migrations over the base schema of the 29 cases, by the verdict that they must get."""

KEEP = {
    "default dropped and set again": (
        'ALTER TABLE "User" ALTER COLUMN "score" DROP DEFAULT;'
        'ALTER TABLE "User" ALTER COLUMN "score" SET DEFAULT 1;'
    ),
    "renamed and renamed back": (
        'ALTER TABLE "User" RENAME TO "U"; ALTER TABLE "U" RENAME TO "User";'
    ),
    "a helper table made and dropped": (
        'CREATE TABLE "tmp" ("a" INT); INSERT INTO "tmp" VALUES (1); UPDATE "tmp" SET "a" = 2;'
        'DELETE FROM "tmp"; DROP TABLE "tmp";'
    ),
    "unique index replaced by a constraint on the same columns": (
        'DROP INDEX "User_email_key";'
        'ALTER TABLE "User" ADD CONSTRAINT "email_unique" UNIQUE ("email");'
    ),
    "DO block that makes a type unless it is there": (
        "DO $$ BEGIN CREATE TYPE \"Color\" AS ENUM ('RED');"
        " EXCEPTION WHEN duplicate_object THEN null; END $$;"
    ),
    "IF EXISTS of what never was": (
        'DROP TABLE IF EXISTS "nope"; DROP INDEX IF EXISTS "nope_idx";'
        'DROP TYPE IF EXISTS "Nope"; DROP VIEW IF EXISTS "nope_view";'
        'ALTER TABLE "User" DROP COLUMN IF EXISTS "nope";'
        'ALTER TABLE "User" DROP CONSTRAINT IF EXISTS "nope_check";'
    ),
    "IF NOT EXISTS of what is there": (
        'CREATE TABLE IF NOT EXISTS "User" ("id" INT);'
        'ALTER TABLE "User" ADD COLUMN IF NOT EXISTS "name" TEXT NOT NULL;'
    ),
    "function replaced that this file made": (
        "CREATE FUNCTION f() RETURNS int AS 'SELECT 1' LANGUAGE sql;"
        "CREATE OR REPLACE FUNCTION f() RETURNS int AS 'SELECT 2' LANGUAGE sql;"
    ),
    "constraint and index renamed": (
        'ALTER TABLE "User" RENAME CONSTRAINT "User_pkey" TO "pk";'
        'ALTER INDEX "User_email_key" RENAME TO "mails";'
    ),
    "foreign key dropped": 'ALTER TABLE "Post" DROP CONSTRAINT "Post_authorId_fkey";',
    "what is said around": (
        "BEGIN; SET lock_timeout = '5s'; COMMENT ON TABLE \"User\" IS 'x';"
        'ANALYZE "User"; GRANT SELECT ON "User" TO PUBLIC; COMMIT;'
    ),
    "semicolons inside strings and functions": (
        'ALTER TABLE "User" ADD COLUMN "sep" TEXT DEFAULT \'; DROP TABLE "User";\';'
        'CREATE FUNCTION g() RETURNS void AS $$ BEGIN DROP TABLE "User"; END; $$ LANGUAGE plpgsql;'
    ),
    "sequence set": "SELECT pg_catalog.setval('\"User_id_seq\"', 100, false);",
    "view and materialized view": (
        'CREATE VIEW "v" AS SELECT 1; CREATE MATERIALIZED VIEW "w" AS SELECT 1;'
    ),
    "a table filled from another": 'CREATE TABLE "copy" AS SELECT * FROM "User";',
    "an identity column": (
        'ALTER TABLE "Post" ADD COLUMN "n" INTEGER GENERATED ALWAYS AS IDENTITY;'
    ),
    "index of the base schema spelled with its schema": 'DROP INDEX "public"."User_name_idx";',
}

REVERT = {
    "required column whose default is dropped again": (
        'ALTER TABLE "User" ADD COLUMN "bio" TEXT NOT NULL DEFAULT \'\';'
        'ALTER TABLE "User" ALTER COLUMN "bio" DROP DEFAULT;'
    ),
    "default dropped": 'ALTER TABLE "User" ALTER COLUMN "score" DROP DEFAULT;',
    "enum rebuilt as Prisma does, losing a value": (
        "BEGIN; CREATE TYPE \"Role_new\" AS ENUM ('USER');"
        'ALTER TABLE "User" ALTER COLUMN "role" DROP DEFAULT;'
        'ALTER TABLE "User" ALTER COLUMN "role" TYPE "Role_new"'
        ' USING ("role"::text::"Role_new");'
        'ALTER TYPE "Role" RENAME TO "Role_old"; ALTER TYPE "Role_new" RENAME TO "Role";'
        'DROP TYPE "Role_old"; ALTER TABLE "User" ALTER COLUMN "role" SET DEFAULT \'USER\';'
        "COMMIT;"
    ),
    "unique index replaced by one that is not": (
        'DROP INDEX "User_email_key"; CREATE INDEX "mails" ON "User"("email");'
    ),
    "enum value renamed": "ALTER TYPE \"Role\" RENAME VALUE 'USER' TO 'MEMBER';",
    "type renamed": 'ALTER TYPE "Role" RENAME TO "UserRole";',
    "enum rebuilt the other way round": (
        'ALTER TYPE "Role" RENAME TO "Role_old"; CREATE TYPE "Role" AS ENUM (\'USER\');'
        'ALTER TABLE "User" ALTER COLUMN "role" DROP DEFAULT;'
        'ALTER TABLE "User" ALTER COLUMN "role" TYPE "Role" USING ("role"::text::"Role");'
        'ALTER TABLE "User" ALTER COLUMN "role" SET DEFAULT \'USER\'; DROP TYPE "Role_old";'
    ),
    "unique constraint dropped": 'ALTER TABLE "User" DROP CONSTRAINT "User_pkey";',
    "integer to text": 'ALTER TABLE "User" ALTER COLUMN "score" TYPE TEXT;',
    "row security on": 'ALTER TABLE "User" ENABLE ROW LEVEL SECURITY;',
    "moved to another schema": 'ALTER TABLE "User" SET SCHEMA "app";',
    "rights revoked": 'REVOKE INSERT ON "User" FROM PUBLIC;',
    "owner changed": 'ALTER TABLE "User" OWNER TO "other";',
    "a statement of a kind nobody thought of": 'CREATE RULE r AS ON INSERT TO "User" DO NOTHING;',
    "view dropped": 'DROP VIEW "user_names";',
    "sequence renamed": 'ALTER SEQUENCE "User_id_seq" RENAME TO "s";',
    "restrictive policy": 'CREATE POLICY p ON "User" AS RESTRICTIVE USING (false);',
}

RESTORE = {
    "DO block with computed SQL": "DO $$ BEGIN EXECUTE 'DROP TABLE \"Post\"'; END $$;",
    "DO block that drops": 'DO $$ BEGIN DROP TABLE "Post"; END $$;',
    "DO block with a condition": (
        'DO $$ BEGIN IF true THEN ALTER TABLE "User" DROP COLUMN "name"; END IF; END $$;'
    ),
    "DO block in another language": "DO LANGUAGE plperl $$ drop_all(); $$;",
    "call of an unknown function": "SELECT drop_everything();",
    "drop schema": 'DROP SCHEMA "app" CASCADE;',
    "drop type with its columns": 'DROP TYPE "Role" CASCADE;',
    "column dropped and added again": (
        'ALTER TABLE "User" DROP COLUMN "age"; ALTER TABLE "User" ADD COLUMN "age" INTEGER;'
    ),
    "enum rebuilt with a value that rows may use": (
        "CREATE TYPE \"Role_new\" AS ENUM ('ADMIN', 'USER', 'GUEST');"
        'ALTER TABLE "User" ALTER COLUMN "role" TYPE "Role_new"'
        ' USING ("role"::text::"Role_new");'
        'DROP TYPE "Role"; ALTER TYPE "Role_new" RENAME TO "Role";'
    ),
    "values computed anew": (
        'ALTER TABLE "User" ALTER COLUMN "score" TYPE TEXT USING lower("score"::text);'
    ),
    "syntax error": "ALTER TABEL x;",
}
