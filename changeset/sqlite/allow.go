package sqlite

import (
	"strings"

	lib "modernc.org/sqlite/lib"
)

// What client modes may use. What is not listed is refused.

// set makes a set of the words in the texts.
func set(texts ...string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(strings.Join(texts, " ")) {
		m[w] = true
	}
	return m
}

// statement is a kind of statement that the authorizer is asked about.
type statement struct {
	name string
	ddl  bool // changes the schema
}

var statements = map[int32]statement{
	lib.SQLITE_CREATE_INDEX:        {"CREATE INDEX", true},
	lib.SQLITE_CREATE_TABLE:        {"CREATE TABLE", true},
	lib.SQLITE_CREATE_TEMP_INDEX:   {"CREATE TEMP INDEX", true},
	lib.SQLITE_CREATE_TEMP_TABLE:   {"CREATE TEMP TABLE", true},
	lib.SQLITE_CREATE_TEMP_TRIGGER: {"CREATE TEMP TRIGGER", true},
	lib.SQLITE_CREATE_TEMP_VIEW:    {"CREATE TEMP VIEW", true},
	lib.SQLITE_CREATE_TRIGGER:      {"CREATE TRIGGER", true},
	lib.SQLITE_CREATE_VIEW:         {"CREATE VIEW", true},
	lib.SQLITE_CREATE_VTABLE:       {"CREATE VIRTUAL TABLE", true},
	lib.SQLITE_DROP_INDEX:          {"DROP INDEX", true},
	lib.SQLITE_DROP_TABLE:          {"DROP TABLE", true},
	lib.SQLITE_DROP_TEMP_INDEX:     {"DROP TEMP INDEX", true},
	lib.SQLITE_DROP_TEMP_TABLE:     {"DROP TEMP TABLE", true},
	lib.SQLITE_DROP_TEMP_TRIGGER:   {"DROP TEMP TRIGGER", true},
	lib.SQLITE_DROP_TEMP_VIEW:      {"DROP TEMP VIEW", true},
	lib.SQLITE_DROP_TRIGGER:        {"DROP TRIGGER", true},
	lib.SQLITE_DROP_VIEW:           {"DROP VIEW", true},
	lib.SQLITE_DROP_VTABLE:         {"DROP TABLE", true},
	lib.SQLITE_ALTER_TABLE:         {"ALTER TABLE", true},
	lib.SQLITE_REINDEX:             {"REINDEX", false},
	lib.SQLITE_ANALYZE:             {"ANALYZE", false},
	lib.SQLITE_ATTACH:              {"ATTACH", false},
	lib.SQLITE_DETACH:              {"DETACH", false},
}

// schemaTables are the names of the schema table; the authorizer hears the
// first of each pair.
var schemaTables = set("sqlite_master sqlite_schema sqlite_temp_master sqlite_temp_schema")

// readableSchema are the tables of SQLite itself that may be read. Not
// sqlite_stat4, which holds samples of the keys of every table, ours included.
var readableSchema = set("sqlite_master sqlite_schema sqlite_temp_master sqlite_temp_schema",
	"sqlite_sequence sqlite_stat1")

// tableFunctions are the modules of the engine that may be used. Tables that a
// user made of a module earlier (FTS5, R*Tree) go by their own names and may be
// read and written: they stay on this node.
var tableFunctions = set("json_each json_tree jsonb_each jsonb_tree generate_series")

// pragmas that may be used, also as table-valued functions, and whether they
// may have an argument: for these it selects what is read. Not
// foreign_key_check: of a table that refers to one of ours it would tell which
// keys that one has.
var pragmas = map[string]bool{
	"table_info": true, "table_xinfo": true, "table_list": true,
	"index_list": true, "index_info": true, "index_xinfo": true,
	"foreign_key_list": true,
	"quick_check":      true, "integrity_check": true,

	"application_id": false, "auto_vacuum": false, "collation_list": false, "compile_options": false,
	"data_version": false, "database_list": false, "encoding": false, "foreign_keys": false,
	"freelist_count": false, "function_list": false, "module_list": false, "page_count": false,
	"page_size": false, "pragma_list": false, "schema_version": false, "user_version": false,
}

func allowedPragma(name string) bool {
	_, ok := pragmas[name]
	return ok
}

// functions of SQLite that may be called. Left out are those that read or write
// files, load code, write the log, show the inside of the file, or run SQL on
// names in their arguments (rtreecheck).
var functions = set(
	// core
	"abs changes char coalesce concat concat_ws format glob hex if ifnull iif instr",
	"last_insert_rowid length like likelihood likely lower ltrim max min nullif octet_length",
	"printf quote random randomblob replace round rtrim sign soundex",
	"sqlite_compileoption_get sqlite_compileoption_used sqlite_source_id sqlite_version",
	"substr substring subtype total_changes trim typeof unhex unicode unistr unistr_quote unlikely",
	"upper zeroblob match regexp",
	// aggregate and window
	"avg count group_concat median percentile percentile_cont percentile_disc string_agg sum total",
	"cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number",
	// date and time
	"current_date current_time current_timestamp date datetime julianday strftime time timediff unixepoch",
	// mathematics
	"acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log log10 log2",
	"mod pi pow power radians sin sinh sqrt tan tanh trunc",
	// JSON
	"-> ->> json json_array json_array_insert json_array_length json_error_position json_extract",
	"json_group_array json_group_object json_insert json_object json_patch json_pretty json_quote",
	"json_remove json_replace json_set json_type json_valid",
	"jsonb jsonb_array jsonb_array_insert jsonb_extract jsonb_group_array jsonb_group_object",
	"jsonb_insert jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set",
	// full text search over tables that exist
	"bm25 highlight snippet",
)
