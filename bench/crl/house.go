// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/tallystick/tallystick/internal/revocation"
	"github.com/tallystick/tallystick/internal/store"
)

// issue fills the table of issued certificates behind the store's back: how they get there is
// not measured here. Each has 500 octets.
func issue(ctx context.Context, path string, n int) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	const insert = `WITH RECURSIVE i(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM i WHERE n + 1 < $1)
		INSERT INTO issued (serial, authority_id, profile, via, requester, subject, names, spki, sha256, certificate, issued_at, not_before, not_after, replaces)
		SELECT unhex(printf('01%030x', n)), 7, 'server', 'api', 'bench', 'CN=bench', '{}', randomblob(32), randomblob(32), zeroblob(500), 1, 1, 9000000000000000, x'' FROM i`
	_, err = db.ExecContext(ctx, insert, n)
	return errors.Join(err, db.Close())
}

// A house is a publisher with n entries on its list.
type house struct {
	n    int
	db   *store.DB
	p    *revocation.Publisher
	a    authority
	base string
}

func (h *house) measure(ctx context.Context, blocks string) error {
	server := httptest.NewServer(h.p.Handler())
	defer server.Close()
	h.base = server.URL + "/pki/bench"
	name := func(what string) string { return fmt.Sprintf("%8d entries  ours: %s", h.n, what) }
	m := begin()
	if err := h.p.Flush(ctx); err != nil {
		return err
	}
	size, err := h.size(ctx)
	if err != nil {
		return err
	}
	m.end(name("from the rows, sign, keep"), size, 0)
	if err := revoke(ctx, h.db, h.n, h.n+1); err != nil {
		return err
	}
	m = begin()
	if err := h.p.Flush(ctx); err != nil {
		return err
	}
	m.end(name("one more: sign, keep"), size, size)
	m = begin()
	if err := h.fetch(ctx); err != nil {
		return err
	}
	m.end(name("serve it, with its client"), size, size)
	next := h.n + 1
	for text := range strings.SplitSeq(blocks, ",") {
		block, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		m = begin()
		if err := revoke(ctx, h.db, next, next+block); err != nil {
			return err
		}
		if err := h.p.Flush(ctx); err != nil {
			return err
		}
		next += block
		if status, err := h.ask(2 * (next - 1)); err != nil || status != ocsp.Revoked {
			return fmt.Errorf("the last of the block has status %d: %w", status, err)
		}
		m.end(name(fmt.Sprintf("block %d until live", block)), size, size)
	}
	return h.askMany()
}

// size returns the size of the list.
func (h *house) size(ctx context.Context) (int, error) {
	health, err := h.p.Health(ctx)
	if err != nil || len(health) != 1 || health[0].Error != "" {
		return 0, fmt.Errorf("the list is not well: %+v: %w", health, err)
	}
	return int(health[0].Size), nil
}

// fetch fetches the list.
func (h *house) fetch(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base+".crl", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return errors.Join(err, response.Body.Close())
}

// The structures of a request (RFC 6960 section 4.1.1).
type certID struct {
	Hash      pkix.AlgorithmIdentifier
	Name, Key []byte
	Serial    *big.Int
}

type request struct{ ID certID }

type query struct {
	TBS struct{ List []request }
}

// ask asks for the ith certificate.
func (h *house) ask(i int) (int, error) {
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(h.a.certificate.RawSubjectPublicKeyInfo, &spki); err != nil {
		return 0, err
	}
	name, key := sha1.Sum(h.a.certificate.RawSubject), sha1.Sum(spki.Key.Bytes)
	var q query
	q.TBS.List = []request{{certID{Hash: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, Parameters: asn1.NullRawValue},
		Name: name[:], Key: key[:], Serial: new(big.Int).SetBytes(serial(i))}}}
	der, err := asn1.Marshal(q)
	if err != nil {
		return 0, err
	}
	return h.post(der)
}

func (h *house) post(der []byte) (int, error) {
	response, err := http.Post(h.base+"/ocsp", "application/ocsp-request", bytes.NewReader(der))
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return 0, err
	}
	answer, err := ocsp.ParseResponse(body, h.a.certificate)
	if err != nil {
		return 0, err
	}
	return answer.Status, nil
}

// askMany asks for certificates at random, one after the other, of which half are revoked. Hardly any answer
// is one that was kept.
func (h *house) askMany() error {
	const many = 20_000
	rng := rand.New(rand.NewPCG(1, 2))
	took := make([]time.Duration, many)
	runtime.GC()
	before := cpuSeconds()
	for i := range took {
		n := rng.IntN(2 * h.n)
		want := ocsp.Good
		if n%2 == 0 {
			want = ocsp.Revoked
		}
		began := time.Now()
		status, err := h.ask(n)
		took[i] = time.Since(began)
		if err != nil || status != want {
			return fmt.Errorf("certificate %d has status %d: %w", n, status, err)
		}
	}
	slices.Sort(took)
	fmt.Printf("%8d entries  ours: %d answers of OCSP        p50 %.2f ms, p99 %.2f ms, %.0f µs of CPU with their client\n", h.n, many,
		took[many/2].Seconds()*1e3, took[many*99/100].Seconds()*1e3, (cpuSeconds()-before)/many*1e6)
	return nil
}
