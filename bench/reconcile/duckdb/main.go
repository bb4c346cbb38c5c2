// SPDX-License-Identifier: Apache-2.0

// Command duckdb finds the sign-ins whose token no holder's record has, by an
// anti-join in DuckDB over the same files that tally reconcile reads. It is a
// module of its own, so that Tallystick does not depend on DuckDB.
//
//	go build -o /tmp/duckdb . && /tmp/duckdb holder.ndjson signins.ndjson
package main

import (
	"database/sql"
	"fmt"
	"os"
	"strings"

	_ "github.com/duckdb/duckdb-go/v2"
)

// query names the few columns it needs, so that DuckDB need not find out the
// types of the rest, and counts what tally calls foreign by rule 3 alone: no
// duplicates, no joined names, no books, no tolerance.
const query = `
SELECT count(*) FROM read_json('%s', format='newline_delimited', columns={
  id: 'VARCHAR', createdDateTime: 'TIMESTAMP', ipAddress: 'VARCHAR', correlationId: 'VARCHAR', resourceId: 'VARCHAR', resourceTenantId: 'VARCHAR',
  servicePrincipalCredentialKeyId: 'VARCHAR', uniqueTokenIdentifier: 'VARCHAR', status: 'STRUCT(errorCode INTEGER)'}) AS r
ANTI JOIN read_json('%s', format='newline_delimited', columns={
  time: 'TIMESTAMP', credential: 'VARCHAR[]', relying_party: 'VARCHAR', address: 'VARCHAR', ids: 'STRUCT(uti VARCHAR, correlation VARCHAR)'}) AS h
ON h.ids.uti = r.uniqueTokenIdentifier AND h.credential[1] = 'entra-key:' || r.servicePrincipalCredentialKeyId`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "duckdb:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: duckdb HOLDER RELYING")
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer db.Close()
	quote := func(path string) string { return strings.ReplaceAll(path, "'", "''") }
	var foreign int64
	if err := db.QueryRow(fmt.Sprintf(query, quote(args[1]), quote(args[0]))).Scan(&foreign); err != nil {
		return err
	}
	fmt.Printf("%d foreign uses\n", foreign)
	return nil
}
