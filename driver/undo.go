// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"

	"github.com/tallystick/tallystick"
)

// An Undoer takes back a change of a directory that a Watcher has seen.
//
// Undo looks first: what is as it was before the change already is left alone, and Changed is
// false. It takes away the values that were added, and no others, puts back those that were
// removed, in one modification, and looks again: Now is how the attribute stands then. An error
// says nothing about whether it happened; the caller may call again. What cannot be put back,
// such as a password, is ErrInvalid.
type Undoer interface {
	Undo(ctx context.Context, request UndoRequest) (Undone, error)
}

// An UndoRequest says what to take back.
type UndoRequest struct {
	Values tallystick.ChangedValues
	// Try looks and says what would be done, and changes nothing.
	Try bool
}

// Undone is what came of it.
type Undone struct {
	Changed bool   `json:"changed"`      // it was done, or would be
	DN      string `json:"dn,omitempty"` // of the object, as it is called now
	// Before and Now are the values of the attribute, for people.
	Before []string `json:"before,omitempty"`
	Now    []string `json:"now,omitempty"`
}

// A DirectoryRecord is one attribute of one object of a directory in which a Watcher found
// something changed: a record of the format "directory".
type DirectoryRecord struct {
	Type      string `json:"type"`      // "directory-change"
	ID        string `json:"id"`        // the same when the same change is read again
	Time      string `json:"time"`      // RFC 3339, UTC
	Directory string `json:"directory"` // "ad:lab.test", "ldap:10.0.0.5:636"
	// Object, DN, Name, Kind and Accounts are of the object that was changed: what the directory
	// calls it, its names for people, what it is, and under which names uses of it are recorded.
	Object   string   `json:"object"`
	DN       string   `json:"dn"`
	Name     string   `json:"name,omitempty"`
	Kind     string   `json:"kind,omitempty"`
	Accounts []string `json:"accounts,omitempty"`

	Attribute string   `json:"attribute"`
	Added     [][]byte `json:"added,omitempty"`
	Removed   [][]byte `json:"removed,omitempty"`
	// Existing is how many values there were before, -1 where that is not known.
	Existing int `json:"existing"`
	// Lost is how many values were added or removed that are too large or too many to be told,
	// and LostRemoved how many of those were removed.
	Lost        int    `json:"lost,omitempty"`
	LostRemoved int    `json:"lost_removed,omitempty"`
	Detail      string `json:"detail,omitempty"` // what else the directory says of it
}

// DirectoryChange is the Type of a DirectoryRecord.
const DirectoryChange = "directory-change"
