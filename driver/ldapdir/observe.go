// SPDX-License-Identifier: Apache-2.0

package ldapdir

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// An Object is what a watch reads of one entry.
type Object struct {
	Key      string // what the directory calls it, whatever its name is
	DN, Name string
	Kind     string // "user", "group", "computer" ...
	Accounts []string
	// Values are watched attributes as they are now, all of their values; an attribute without
	// any has an empty list. What is not in it was not read.
	Values map[string][][]byte
	// Added and Removed are values of attributes of which the directory tells those alone.
	Added, Removed map[string][][]byte
	// Gone says that the entry was deleted.
	Gone bool
	// Stamp is different after each change. When and Detail say more of a change of one
	// attribute; they may be nil.
	Stamp  string
	When   func(attribute string) (at time.Time, stamp string)
	Detail func(attribute string) string
}

// An Observer compares what a watch reads with what is remembered, and hands over what is
// different. It is used by one goroutine.
type Observer struct {
	Sink      driver.WatchSink
	Memory    driver.WatchMemory
	Directory string    // "ad:lab.test"
	Log       string    // for people
	First     bool      // nothing was read before: what is there is remembered, and no change
	Since     time.Time // of the last round; what changed long before it is told as of now
	Now       func() time.Time
	// Links are attributes whose values are told one by one and never compared.
	Links map[string]bool

	Changes int // that were handed over
	waiting []Object
}

// batchObjects is how many objects are compared at once.
const batchObjects = 256

// Saw takes what was read of an object.
func (o *Observer) Saw(ctx context.Context, object Object) error {
	o.waiting = append(o.waiting, object)
	if len(o.waiting) < batchObjects {
		return nil
	}
	return o.flush(ctx)
}

// End hands over the rest, with the position up to which everything was read.
func (o *Observer) End(ctx context.Context, position string) error {
	if err := o.flush(ctx); err != nil {
		return err
	}
	return o.take(driver.WatchBatch{Position: position})
}

// A SinkError is an error of whoever takes what is read.
type SinkError struct{ error }

// Unwrap returns that error.
func (e *SinkError) Unwrap() error { return e.error }

func (o *Observer) take(b driver.WatchBatch) error {
	b.Log, b.Format = o.Log, "directory"
	if _, err := o.Sink.Take(b); err != nil {
		return &SinkError{err}
	}
	return nil
}

func (o *Observer) flush(ctx context.Context) error {
	if len(o.waiting) == 0 {
		return nil
	}
	objects := o.waiting
	o.waiting = nil
	states, err := o.remembered(ctx, objects)
	if err != nil {
		return err
	}
	var b driver.WatchBatch
	changed := map[string]bool{}
	for i := range objects {
		object := &objects[i]
		before := states[object.Key]
		after, differences := compare(object, before, o.Links)
		if !o.First {
			for _, d := range differences {
				records, err := o.records(object, before, d)
				if err != nil {
					return err
				}
				b.Records = append(b.Records, records...)
			}
		}
		if !after.equal(before) && (before != nil || !after.empty()) {
			states[object.Key] = after
			changed[object.Key] = true
		}
	}
	for key := range changed {
		value, err := states[key].encode()
		if err != nil {
			return err
		}
		b.Remember = append(b.Remember, driver.Remembered{Key: key, Value: value})
	}
	o.Changes += len(b.Records)
	return o.take(b)
}

// remembered returns what is known of objects.
func (o *Observer) remembered(ctx context.Context, objects []Object) (map[string]*state, error) {
	states := map[string]*state{}
	if o.Memory == nil {
		return states, nil
	}
	keys := make([]string, 0, len(objects))
	for _, object := range objects {
		keys = append(keys, object.Key)
	}
	values, err := o.Memory.Remembered(ctx, keys)
	if err != nil {
		return nil, &SinkError{err}
	}
	for i, value := range values {
		if s := decodeState(value); s != nil {
			states[keys[i]] = s
		}
	}
	return states, nil
}

// Bounds of a record.
const (
	maxValue  = 16 << 10 // bytes of a value that is told
	maxValues = 500      // values of one record
)

// records writes down one difference.
func (o *Observer) records(object *Object, before *state, d difference) ([][]byte, error) {
	r := driver.DirectoryRecord{
		Type: driver.DirectoryChange, Directory: o.Directory, Object: object.Key, DN: object.DN, Name: object.Name, Kind: object.Kind,
		Accounts: object.Accounts, Attribute: d.attribute, Existing: d.existing, Lost: d.lost, LostRemoved: d.lost, // of what went, hashes alone may be known
	}
	if before != nil { // of what was deleted, the directory tells no more
		r.DN, r.Name, r.Kind = cmp.Or(r.DN, before.DN), cmp.Or(r.Name, before.Name), cmp.Or(r.Kind, before.Kind)
		if len(r.Accounts) == 0 {
			r.Accounts = before.Accounts
		}
	}
	at, stamp := time.Time{}, ""
	if object.When != nil {
		at, stamp = object.When(d.attribute)
	}
	r.ID = object.Key + "/" + d.attribute + "/" + cmp.Or(stamp, object.Stamp)
	if object.Detail != nil {
		r.Detail = object.Detail(d.attribute)
	}
	when, doubt := o.when(at)
	if doubt != "" {
		r.Detail = doubt
	}
	r.Time = when.UTC().Format(time.RFC3339Nano)
	if object.Gone {
		r.Detail = "the object was deleted"
	}
	r.Added, r.Removed = told(d.added), told(d.removed)
	r.LostRemoved += len(d.removed) - len(r.Removed)
	r.Lost += len(d.added) - len(r.Added) + len(d.removed) - len(r.Removed)
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("couldn't write down a change: %w", err)
	}
	return [][]byte{text}, nil
}

// told returns those of the values that a record holds.
func told(values [][]byte) (list [][]byte) {
	for _, value := range values {
		if len(value) <= maxValue && len(list) < maxValues {
			list = append(list, value)
		}
	}
	return list
}

// How far the time of a directory may be from when a change was seen.
const (
	ahead  = time.Minute
	behind = 15 * time.Minute
)

// when says when something changed. A directory says it of itself, and whoever can write its
// metadata could have a change fall into a time that somebody has expected one in: it is
// believed only between the last round and now.
func (o *Observer) when(at time.Time) (time.Time, string) {
	now := o.Now()
	if at.IsZero() {
		return now, ""
	}
	if at.After(now.Add(ahead)) || at.Before(o.Since.Add(-behind)) {
		return now, "the directory says that it changed on " + at.UTC().Format("2006-01-02 15:04:05Z") + ", and it was seen only now"
	}
	return at, ""
}

// ReadPosition reads a position that was stored as JSON.
func ReadPosition(text string, into any) error {
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("%w: couldn't read where the watch of a directory stood: %w", tallystick.ErrDamaged, err)
	}
	return nil
}
