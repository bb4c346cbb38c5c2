// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// A Batch is what a run saw in a while. Every sighting has an empty Chain: the
// further certificates are sightings of their own.
type Batch struct {
	Run       int64
	Source    string
	Sightings []tallystick.Sighting
	Misses    []tallystick.Miss
}

// Recorded counts what a batch changed.
type Recorded struct {
	Sightings int64 // distinct credentials at distinct places
	Appeared  int64 // of those, not there before
}

// Record stores a batch in one transaction. Recording it twice changes nothing
// more than recording it once, so after an error the same batch may be tried again.
func (db *DB) Record(ctx context.Context, b Batch) (Recorded, error) {
	r, err := db.newRecording(ctx, b)
	if err != nil {
		return Recorded{}, err
	}
	if err := db.tx(ctx, func(tx *writing) error { return r.write(ctx, tx) }); err != nil {
		return Recorded{}, db.wrap("couldn't record what was seen", err)
	}
	db.known.put(r.ids)
	return Recorded{Sightings: int64(len(r.sightings)), Appeared: r.appeared}, nil
}

// A sightingKey says which sightings are one and the same within a batch.
type sightingKey struct {
	credential tallystick.Fingerprint
	place      tallystick.Place
	role       tallystick.Role
}

// A recording is the work of one Record.
type recording struct {
	batch       Batch
	sightings   map[sightingKey]*tallystick.Sighting
	credentials map[tallystick.Fingerprint]*tallystick.Sighting // with when it was seen
	places      map[tallystick.Place]time.Time                  // with when it was seen
	ids         map[string]int64                                // of both, as far as known
	nextID      int64

	perCredential map[tallystick.Fingerprint]int64 // sightings of the batch
	counted       map[int64]bool                   // ids of credentials that were added with their places

	appeared      int64
	appearedBy    map[int64]int64 // credential id -> new sightings
	appearedAt    map[int64]int64 // place id -> new sightings
	changed       map[int64]bool  // ids of credentials whose facts changed
	pastFactsRows [][]any
}

func (db *DB) newRecording(ctx context.Context, b Batch) (*recording, error) {
	r := &recording{
		batch:       b,
		sightings:   make(map[sightingKey]*tallystick.Sighting, len(b.Sightings)),
		credentials: map[tallystick.Fingerprint]*tallystick.Sighting{}, places: map[tallystick.Place]time.Time{},
		ids: map[string]int64{}, perCredential: map[tallystick.Fingerprint]int64{}, counted: map[int64]bool{},
		appearedBy: map[int64]int64{}, appearedAt: map[int64]int64{}, changed: map[int64]bool{},
	}
	for i := range b.Sightings {
		s := &b.Sightings[i]
		key := sightingKey{s.Credential.ID, s.Place, s.Role}
		if r.sightings[key] == nil {
			r.perCredential[s.Credential.ID]++
		}
		r.sightings[key] = s
		r.credentials[s.Credential.ID] = s
		r.places[s.Place] = s.Seen
	}
	var err error
	r.nextID, err = db.newIDs(ctx, int64(len(r.sightings)+len(r.credentials)+len(r.places)))
	if err != nil {
		return nil, err
	}
	return r, db.lookUpIDs(ctx, r)
}

// lookUpIDs fills r.ids with those that exist, from memory and then from the store.
func (db *DB) lookUpIDs(ctx context.Context, r *recording) error {
	var fingerprints, uris []any
	for f := range r.credentials {
		if id, ok := db.known.get(string(f)); ok {
			r.ids[string(f)] = id
		} else {
			fingerprints = append(fingerprints, string(f))
		}
	}
	for p := range r.places {
		if id, ok := db.known.get(string(p)); ok {
			r.ids[string(p)] = id
		} else {
			uris = append(uris, string(p))
		}
	}
	const (
		byFingerprint = `SELECT fingerprint, id FROM credentials WHERE fingerprint IN `
		byURI         = `SELECT uri, id FROM places WHERE uri IN `
	)
	if err := in(ctx, db, byFingerprint, fingerprints, r.learnID); err != nil {
		return db.wrap("couldn't look up credentials", err)
	}
	return db.wrap("couldn't look up places", in(ctx, db, byURI, uris, r.learnID))
}

// learnID takes a (name, id) row.
func (r *recording) learnID(rows *sql.Rows) error {
	var name string
	var id int64
	if err := rows.Scan(&name, &id); err != nil {
		return err
	}
	r.ids[name] = id
	return nil
}

func (r *recording) takeID() int64 {
	r.nextID++
	return r.nextID - 1
}

// write is the transaction.
func (r *recording) write(ctx context.Context, tx *writing) error {
	// Ids that the transaction learns are worth nothing if it fails.
	for _, step := range []func(context.Context, *writing) error{
		r.writeCredentials, r.writePlaces, r.writeSightings, r.writePastFacts, r.writeCounts, r.writeMisses,
	} {
		if err := step(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

func (r *recording) writePlaces(ctx context.Context, tx *writing) error {
	var rows [][]any
	for p, seen := range r.places {
		if _, ok := r.ids[string(p)]; !ok {
			rows = append(rows, []any{r.takeID(), string(p), p.Scheme(), micros(seen)})
		}
	}
	// The empty update makes RETURNING give the id of a row that another node
	// has added since the look-up.
	return bulk{
		head:  `INSERT INTO places (id, uri, scheme, first_seen) VALUES `,
		tail:  ` ON CONFLICT (uri) DO UPDATE SET uri = excluded.uri RETURNING uri, id`,
		width: 4,
	}.exec(ctx, tx, rows, r.learnID)
}

// sightingUpsert keeps facts that are replaced in previous_facts, so that
// RETURNING can hand them to past_facts.
var sightingUpsert = bulk{
	head: `INSERT INTO sightings (id, credential_id, place_id, source, role, scheme, first_seen, last_seen, first_run, last_run, facts) VALUES `,
	tail: ` ON CONFLICT (credential_id, gone_since, scheme, place_id, source, role) DO UPDATE SET
		last_seen = excluded.last_seen, last_run = excluded.last_run, facts = excluded.facts,
		previous_facts = CASE WHEN sightings.facts = excluded.facts THEN '' ELSE sightings.facts END
		RETURNING id, credential_id, place_id, last_seen, previous_facts`,
	width: 11,
}

func (r *recording) writeSightings(ctx context.Context, tx *writing) error {
	rows := make([][]any, 0, len(r.sightings))
	ours := make(map[int64]bool, len(r.sightings))
	for key, s := range r.sightings {
		id := r.takeID()
		ours[id] = true
		seen := micros(s.Seen)
		rows = append(rows, []any{
			id, r.ids[string(key.credential)], r.ids[string(key.place)], r.batch.Source, string(key.role),
			key.place.Scheme(), seen, seen, r.batch.Run, r.batch.Run, jsonText(s.Facts),
		})
	}
	// Neighbours in the index are written together.
	slices.SortFunc(rows, func(a, b []any) int {
		return cmp.Or(cmp.Compare(a[1].(int64), b[1].(int64)), cmp.Compare(a[2].(int64), b[2].(int64)))
	})
	return sightingUpsert.exec(ctx, tx, rows, func(rows *sql.Rows) error {
		var id, credential, place, seen int64
		var previous string
		if err := rows.Scan(&id, &credential, &place, &seen, &previous); err != nil {
			return err
		}
		switch {
		case ours[id]:
			r.appeared++
			r.appearedBy[credential]++
			r.appearedAt[place]++
		case previous != "":
			r.changed[credential] = true
			r.pastFactsRows = append(r.pastFactsRows, []any{id, seen, previous})
		}
		return nil
	})
}

func (r *recording) writePastFacts(ctx context.Context, tx *writing) error {
	return bulk{
		head:  `INSERT INTO past_facts (sighting_id, until, facts) VALUES `,
		tail:  ` ON CONFLICT (sighting_id, until) DO NOTHING`,
		width: 3,
	}.exec(ctx, tx, r.pastFactsRows, nil)
}

// writeCounts keeps the numbers of current sightings, and puts the credentials
// that changed before the rules.
func (r *recording) writeCounts(ctx context.Context, tx *writing) error {
	var credentials, places [][]any
	for id, n := range r.appearedBy {
		if !r.counted[id] {
			credentials = append(credentials, []any{id, n})
		}
		delete(r.changed, id)
	}
	for id := range r.changed {
		credentials = append(credentials, []any{id, 0})
	}
	for id, n := range r.appearedAt {
		places = append(places, []any{id, n})
	}
	if err := addToCredentials.exec(ctx, tx, credentials, nil); err != nil {
		return err
	}
	if err := settleCounts(ctx, tx, credentials); err != nil {
		return err
	}
	return addToPlaces.exec(ctx, tx, places, nil)
}

// makeDue puts a credential before the rules. The version keeps a judgement of
// what was there before from taking it away again. Recording does the two apart,
// because setting recheck_at rewrites its index, and most are due already.
const makeDue = `version = version + 1, recheck_at = 0`

// makeAllDue does the second part for the credentials whose ids follow.
const makeAllDue = `UPDATE credentials SET recheck_at = 0 WHERE recheck_at > 0 AND id IN `

// bigints are the types of the two columns below, which stand where PostgreSQL
// would otherwise take them for text.
var bigints = []string{"BIGINT", "BIGINT"}

var addToCredentials = bulk{
	head:  `UPDATE credentials SET places = places + v.column2, version = version + 1 FROM (VALUES `,
	tail:  `) AS v WHERE credentials.id = v.column1`,
	width: 2, cast: bigints,
}

var addToPlaces = bulk{
	head:  `UPDATE places SET present = present + v.column2 FROM (VALUES `,
	tail:  `) AS v WHERE places.id = v.column1`,
	width: 2, cast: bigints,
}

// settleCounts lets present follow places for the credentials whose ids are the
// first column of rows, and makes them due. Few change, so that these are
// statements of their own.
func settleCounts(ctx context.Context, tx *writing, rows [][]any) error {
	ids := make([]any, 0, len(rows))
	for _, row := range rows {
		ids = append(ids, row[0])
	}
	const query = `UPDATE credentials SET present = NOT present WHERE present <> (places > 0) AND id IN `
	nothing := func(*sql.Rows) error { return nil }
	if err := in(ctx, tx, query, ids, nothing); err != nil {
		return err
	}
	return in(ctx, tx, makeAllDue, ids, nothing)
}

func (r *recording) writeMisses(ctx context.Context, tx *writing) error {
	type key struct {
		place tallystick.Place
		word  string
	}
	seen := map[key]bool{}
	var rows [][]any
	for _, m := range r.batch.Misses {
		if k := (key{m.Place, m.Error}); !seen[k] {
			seen[k] = true
			rows = append(rows, []any{r.batch.Run, string(m.Place), m.Error, cleanText(m.Detail), micros(m.Seen)})
		}
	}
	return bulk{
		head:  `INSERT INTO misses (run_id, place, error, detail, seen) VALUES `,
		tail:  ` ON CONFLICT (run_id, place, error) DO NOTHING`,
		width: 5,
	}.exec(ctx, tx, rows, nil)
}
