// SPDX-License-Identifier: Apache-2.0

// Package export writes the credentials that a filter lets through as a file:
// CSV for spreadsheets, JSON with one object a line (NDJSON, because that is
// read line by line however long it is), and a CycloneDX cryptographic bill of
// materials. It reads the store page by page and holds one page, however many
// credentials there are.
package export

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// A Format is a kind of file.
type Format string

const (
	CSV       Format = "csv"
	JSON      Format = "json"
	CycloneDX Format = "cyclonedx"
)

// ParseFormat reads "csv", "json" or "cyclonedx"; anything else is ErrInvalid.
func ParseFormat(word string) (Format, error) {
	switch f := Format(word); f {
	case CSV, JSON, CycloneDX:
		return f, nil
	}
	return "", fmt.Errorf("%w: unknown format %q: it is one of csv, json, cyclonedx", tallystick.ErrInvalid, word)
}

// ContentType returns the media type.
func (f Format) ContentType() string {
	switch f {
	case CSV:
		return "text/csv; charset=utf-8; header=present"
	case CycloneDX:
		return "application/vnd.cyclonedx+json; version=1.6"
	}
	return "application/x-ndjson"
}

// Extension returns how the name of a file ends, without the dot.
func (f Format) Extension() string {
	switch f {
	case CSV:
		return "csv"
	case CycloneDX:
		return "cdx.json"
	}
	return "ndjson"
}

// An Exporter reads the inventory of a store.
type Exporter struct {
	DB   *store.DB
	Gate *gate.Gate
	Now  func() time.Time
}

// Open asks the gate, and returns what the actor may take away.
func (e Exporter) Open(ctx context.Context, actor gate.Actor, f store.CredentialFilter) (*Source, error) {
	if err := e.Gate.Check(ctx, actor, gate.Export, describe(f)); err != nil {
		return nil, err
	}
	return &Source{db: e.DB, filter: f, now: e.Now()}, nil
}

// describe says in the record what was taken.
func describe(f store.CredentialFilter) string {
	if f == (store.CredentialFilter{}) {
		return "all credentials"
	}
	return strings.TrimSpace(fmt.Sprintf("credentials by filter %+v", f))
}

// A Source is what an export reads.
type Source struct {
	db     *store.DB
	filter store.CredentialFilter
	now    time.Time
}

// pageRows is how many credentials are held at once.
const pageRows = 1000

// Write writes everything to w in a format.
func (s *Source) Write(ctx context.Context, w io.Writer, format Format) error {
	switch format {
	case CSV:
		return s.writeCSV(ctx, w)
	case CycloneDX:
		return s.writeCycloneDX(ctx, w)
	}
	return s.writeJSON(ctx, w)
}

// each calls fn for every page of credentials, in the order in which they end.
func (s *Source) each(ctx context.Context, fn func([]store.CredentialRow) error) error {
	request := store.PageRequest{Limit: pageRows}
	for {
		page, err := s.db.Credentials(ctx, s.filter, request)
		if err != nil {
			return err
		}
		if err := fn(page.Items); err != nil {
			return fmt.Errorf("couldn't write the export: %w", err)
		}
		if page.Next == "" {
			return nil
		}
		request.After = page.Next
	}
}
