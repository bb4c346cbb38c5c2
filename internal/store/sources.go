// SPDX-License-Identifier: Apache-2.0

package store

import (
	"time"

	"github.com/tallystick/tallystick"
)

// A Source is where uses are read from. It is one book.
type Source struct {
	ID     int64           `json:"id"`
	Name   string          `json:"name"`
	Kind   string          `json:"kind"` // one of the words below
	Side   tallystick.Side `json:"side"`
	Format string          `json:"format,omitempty"` // of package uses; "" is recognised
	Path   string          `json:"path,omitempty"`
	// TokenHash is what a sender's token hashes to; "" for what is read from disk.
	TokenHash string `json:"-"`
	// Once says that it is read to its end and no further, and Done when it was.
	Once bool      `json:"once,omitempty"`
	Done time.Time `json:"done,omitzero"`
	// Settle is after how long nothing earlier will come; zero: it says so itself.
	Settle time.Duration `json:"settle,omitempty"`
	// Silence is after how long it should have been heard again; zero is never.
	Silence time.Duration `json:"silence,omitempty"`
	// KeepRaw is for how long what it wrote is kept as it was; zero is not.
	KeepRaw   time.Duration `json:"keep_raw,omitempty"`
	Created   time.Time     `json:"created"`
	CreatedBy string        `json:"created_by"`
	Paused    bool          `json:"paused,omitempty"`

	Position   string    `json:"-"` // how far each of its files is read, JSON
	Heard      time.Time `json:"heard,omitzero"`
	Records    int64     `json:"records"`
	Duplicates int64     `json:"duplicates"`
	Malformed  int64     `json:"malformed"`
	Wrong      []string  `json:"wrong,omitempty"` // the newest malformed records, by file and line
	Error      string    `json:"error,omitempty"` // why it cannot be read now
}

// The kinds of sources.
const (
	SourceFile      = "file"      // a file that is appended to and rotated
	SourceDirectory = "directory" // files that are put there
	SourceHTTP      = "http"      // use records that are posted
	SourceOTLP      = "otlp"      // OpenTelemetry logs over HTTP
	SourceSyslog    = "syslog"    // over TLS (RFC 5425)
)
