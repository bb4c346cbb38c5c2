// SPDX-License-Identifier: Apache-2.0

// Package holder writes down the uses of a credential on the side that holds
// it: one half of the tally. A program that signs in with a key opens a Book,
// wraps what it signs in with (a crypto.Signer, an http.RoundTripper, a bind),
// and lets the book run:
//
//	book, err := holder.Open(holder.Config{
//		Source: "mailer-eu-1", Holder: "mailer", File: "/var/lib/mailer/uses.ndjson",
//		Credential: []string{"x5t-s256:9a0c..."},
//	})
//	...
//	go book.Run(ctx)
//	client := &http.Client{Transport: book.Transport(http.DefaultTransport)}
//
// The book never fails or holds up the program: recording takes a lock for a
// moment and never waits for a disk or a network. What cannot be written at
// once waits in memory, up to Config.Memory records. What comes after that is
// counted by credential and relying party, and written later as a counted
// record, so that it is known how many uses there were; when even the counters
// are full, the book says how many it lost and when.
//
// Every record has a number without gaps and a running hash, so that one which
// is removed or changed later can be told. Closing marks say up to when the
// book is complete. Records are version 1 of docs/use-record.schema.json.
//
// No secret is ever written: of tokens and assertions only their identifiers.
package holder
