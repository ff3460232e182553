-- The two helper functions that give pg_monitor what it may not read itself: widths of columns (for the bloat estimate) and the use of
-- sequences. Opt-in: run it as a superuser in every database that is to have them. They give numbers and names, never data: no most
-- common values, no histograms. Works on PostgreSQL 13 and newer; running it again changes nothing.

CREATE SCHEMA IF NOT EXISTS pgvigil;
REVOKE ALL ON SCHEMA pgvigil FROM PUBLIC;

CREATE OR REPLACE FUNCTION pgvigil.column_width()
RETURNS TABLE (starelid oid, staattnum smallint, stainherit boolean, stanullfrac real, stawidth integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT s.starelid, s.staattnum, s.stainherit, s.stanullfrac, s.stawidth FROM pg_catalog.pg_statistic AS s $$;

-- A sequence that feeds an integer column may be used up before its own end: what fits into the column counts.
CREATE OR REPLACE FUNCTION pgvigil.sequence_usage()
RETURNS TABLE (schemaname name, sequencename name, used_ratio double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
SELECT n.nspname, c.relname,
       CASE WHEN s.seqincrement > 0
            THEN (v.last::numeric - s.seqmin) / nullif(least(s.seqmax, f.largest) - s.seqmin, 0)
            ELSE (s.seqmax - v.last::numeric) / nullif(s.seqmax - s.seqmin::numeric, 0) END::double precision
FROM pg_catalog.pg_sequence AS s
JOIN pg_catalog.pg_class AS c ON c.oid = s.seqrelid AND c.relpersistence = 'p'
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT pg_catalog.pg_sequence_last_value(s.seqrelid) AS last) AS v
LEFT JOIN LATERAL (
  SELECT min(CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 ELSE 9223372036854775807 END)::numeric AS largest
  FROM pg_catalog.pg_depend AS d
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  WHERE d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
) AS f ON true
WHERE NOT s.seqcycle
$$;

REVOKE ALL ON FUNCTION pgvigil.column_width(), pgvigil.sequence_usage() FROM PUBLIC;
GRANT USAGE ON SCHEMA pgvigil TO pg_monitor;
GRANT EXECUTE ON FUNCTION pgvigil.column_width(), pgvigil.sequence_usage() TO pg_monitor;
