// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"

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

// recordAttempts is how often Record tries: each time after the first, because
// somebody else has written a part of the same batch since it was looked up.
const recordAttempts = 4

// Record stores a batch in one transaction. Recording it twice changes nothing
// more than recording it once, so after an error the same batch may be tried again.
func (db *DB) Record(ctx context.Context, b Batch) (Recorded, error) {
	r := newRecording(b)
	for attempt := 1; ; attempt++ {
		err := db.record(ctx, r)
		if err == nil {
			return Recorded{Sightings: int64(len(r.sightings)), Appeared: int64(len(r.fresh))}, nil
		}
		if !errors.Is(err, tallystick.ErrConflict) || attempt == recordAttempts {
			return Recorded{}, err
		}
	}
}

func (db *DB) record(ctx context.Context, r *recording) error {
	if err := db.lookUp(ctx, r); err != nil {
		return err
	}
	if err := db.tx(ctx, func(tx *writing) error { return r.write(ctx, tx) }); err != nil {
		return db.wrap("couldn't record what was seen", err)
	}
	for _, list := range [][]named{r.credentials, r.places} {
		db.known.put(list)
	}
	db.common.count(r.terms)
	db.unsettled.Add(int64(len(r.fresh) + len(r.again)))
	return nil
}

// A named is a credential by its fingerprint, or a place.
type named struct {
	name  string
	last  *tallystick.Sighting // of the batch, of it
	id    int64
	isNew bool
}

// A seen is a sighting of a batch. The numbers are places in the lists of a recording.
type seen struct {
	credential, place int
	*tallystick.Sighting
}

// A recording is the work of one Record. What is distinct in the batch stands in
// the order of its first sight, and ids are given in that order: an engine adds
// rows at the end of a table at less cost than between others.
type recording struct {
	batch       Batch
	sightings   []seen
	credentials []named
	places      []named

	// What lookUp finds, anew at each attempt.
	known                 map[knownKey]knownSighting
	nextID                int64
	broad                 map[string]bool // terms that need not be stored again
	added                 map[int64]int64 // credential id -> new sightings
	addedAt               map[int64]int64 // place id -> new sightings
	fresh, again, changed [][]any         // rows of sightings: new, seen again, with other facts
	pastFacts             [][]any
	terms                 [][]any // that were written
}

func newRecording(b Batch) *recording {
	type key struct {
		credential, place int
		role              tallystick.Role
	}
	r := &recording{batch: b}
	at := make(map[key]int, len(b.Sightings))
	credentials, places := map[string]int{}, map[string]int{}
	for i := range b.Sightings {
		s := &b.Sightings[i]
		one := seen{Sighting: s}
		one.credential, r.credentials = distinct(credentials, r.credentials, string(s.Credential.ID), s)
		one.place, r.places = distinct(places, r.places, string(s.Place), s)
		k := key{one.credential, one.place, s.Role}
		if n, ok := at[k]; ok {
			r.sightings[n] = one
			continue
		}
		at[k] = len(r.sightings)
		r.sightings = append(r.sightings, one)
	}
	return r
}

// distinct returns where in a list a name stands, which it adds when it is new.
func distinct(at map[string]int, list []named, name string, s *tallystick.Sighting) (int, []named) {
	if i, ok := at[name]; ok {
		list[i].last = s
		return i, list
	}
	at[name] = len(list)
	return len(list), append(list, named{name: name, last: s})
}

// A knownKey names a sighting of the batch's source by ids.
type knownKey struct {
	credential, place int64
	role              tallystick.Role
}

// A knownSighting is one that the store has, and that has not ended.
type knownSighting struct {
	id    int64
	facts string
}

// lookUp finds out what of the batch is new. It is not part of the transaction,
// which has only to write: should somebody else come in between, a key of the
// schema refuses the rows, and Record looks again. Meanwhile the connection that
// writes has nothing to do, and tidies up behind it.
func (db *DB) lookUp(ctx context.Context, r *recording) error {
	const (
		byFingerprint = `SELECT fingerprint, id FROM credentials WHERE fingerprint IN `
		byURI         = `SELECT uri, id FROM places WHERE uri IN `
	)
	var wait sync.WaitGroup
	var errs [3]error
	wait.Go(func() { errs[0] = db.lookUpIDs(ctx, byFingerprint, r.credentials) })
	wait.Go(func() { errs[1] = db.lookUpIDs(ctx, byURI, r.places) })
	wait.Go(func() { errs[2] = db.settle(ctx) })
	wait.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	var err error
	r.nextID, err = db.newIDs(ctx, int64(len(r.sightings)+len(r.credentials)+len(r.places)))
	if err != nil {
		return err
	}
	for _, list := range [][]named{r.credentials, r.places} {
		for i := range list {
			if n := &list[i]; n.id == 0 {
				n.id, n.isNew = r.takeID(), true
			}
		}
	}
	if err := db.lookUpSightings(ctx, r); err != nil {
		return err
	}
	r.broad = db.common.broad()
	r.compare()
	return nil
}

// lookUpIDs fills in the ids of a list that exist, from memory and then from the
// store.
func (db *DB) lookUpIDs(ctx context.Context, query string, list []named) error {
	var unknown []any
	at := map[string]*named{}
	for i := range list {
		n := &list[i]
		n.id, n.isNew = db.known.get(n.name), false
		if n.id == 0 {
			at[n.name] = n
			unknown = append(unknown, n.name)
		}
	}
	return db.wrap("couldn't look up what is known", in(ctx, db, query, unknown, func(rows *sql.Rows) error {
		var name string
		var id int64
		if err := rows.Scan(&name, &id); err != nil {
			return err
		}
		at[name].id = id
		return nil
	}))
}

// The order of the join is fixed: by the few that are asked for, not by what
// else is at the same place.
var currentSightings = bulk{
	head:  `SELECT s.id, s.credential_id, s.place_id, s.source, s.role, s.facts FROM (VALUES `,
	tail:  `) AS v CROSS JOIN sightings s WHERE s.place_id = v.column1 AND s.gone_since = 0 AND s.credential_id = v.column2`,
	width: 2, cast: bigints,
}

// lookUpSightings finds the current sightings of the source between credentials
// and places that are both known.
func (db *DB) lookUpSightings(ctx context.Context, r *recording) error {
	asked := map[[2]int64]bool{}
	var rows [][]any
	for _, s := range r.sightings {
		credential, place := r.credentials[s.credential], r.places[s.place]
		pair := [2]int64{place.id, credential.id}
		if !place.isNew && !credential.isNew && !asked[pair] {
			asked[pair] = true
			rows = append(rows, []any{place.id, credential.id})
		}
	}
	r.known = make(map[knownKey]knownSighting, len(rows))
	return db.wrap("couldn't look up what was seen before", currentSightings.query(ctx, db, rows, func(rows *sql.Rows) error {
		var k knownKey
		var known knownSighting
		var source string
		err := rows.Scan(&known.id, &k.credential, &k.place, &source, &k.role, &known.facts)
		if source == r.batch.Source {
			r.known[k] = known
		}
		return err
	}))
}

func (r *recording) takeID() int64 {
	r.nextID++
	return r.nextID - 1
}

// compare sorts the sightings into those that are new, that are there again,
// and that are there again with other facts.
func (r *recording) compare() {
	r.added, r.addedAt = map[int64]int64{}, map[int64]int64{}
	r.fresh, r.again, r.changed, r.pastFacts = nil, nil, nil, nil
	for _, s := range r.sightings {
		credential, place := r.credentials[s.credential].id, r.places[s.place].id
		at, facts := micros(s.Seen), jsonText(s.Facts)
		known, ok := r.known[knownKey{credential, place, s.Role}]
		switch {
		case !ok:
			r.fresh = append(r.fresh, []any{
				int64(0), credential, place, r.batch.Source, string(s.Role), s.Place.Scheme(), at, at, r.batch.Run, r.batch.Run, facts,
			})
			r.added[credential]++
			r.addedAt[place]++
		case known.facts == facts:
			r.again = append(r.again, []any{known.id, at, r.batch.Run})
		default:
			r.changed = append(r.changed, []any{known.id, at, r.batch.Run, facts})
			r.pastFacts = append(r.pastFacts, []any{known.id, at, known.facts, r.batch.Run})
			r.added[credential] += 0 // so that the rules see it
		}
	}
	// The places of a batch are neighbours however they are ordered, and its
	// credentials are not: those decide.
	slices.SortStableFunc(r.fresh, func(a, b []any) int { return cmp.Compare(a[1].(int64), b[1].(int64)) })
	for _, row := range r.fresh {
		row[0] = r.takeID()
	}
}
