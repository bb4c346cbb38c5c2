// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tallystick/tallystick"
)

// A shape says what records are like.
type shape struct {
	name        string
	uti         float64 // share of records with a token id: 16 random bytes
	recordID    bool    // the relying side gives each record an id: 16 random bytes
	correlation bool    // both sides have a correlation id, the same one: 16 random bytes
}

var shapes = []shape{
	{name: "half", uti: 0.5},
	{name: "token", uti: 1},
	{name: "entra", uti: 1, recordID: true, correlation: true},
}

// A generator makes up the two sides of one use after the other: a record of one
// of 8 brokers, and 300 ms later one of the tenant's sign-in log.
type generator struct {
	shape       shape
	rng         *rand.Rand
	zipf        *rand.Zipf
	start       time.Time
	step        time.Duration
	n           int64
	seqs        [8]uint64
	credentials [][2][]string // as the holder names them, and the relying side
	parties     []string
	addresses   []string
	last        tallystick.Use
}

const (
	credentials = 20_000
	tenants     = 3_600
)

func newGenerator(s shape, start time.Time, step time.Duration) *generator {
	rng := rand.New(rand.NewPCG(1, 2))
	g := &generator{shape: s, rng: rng, zipf: rand.NewZipf(rng, 1.1, 1, credentials-1), start: start, step: step}
	for range credentials {
		key, x5t := guid(rng), fmt.Sprintf("%016x%016x%08x", rng.Uint64(), rng.Uint64(), rng.Uint32())
		g.credentials = append(g.credentials, [2][]string{{"entra-key:" + key, "x5t:" + x5t}, {"entra-key:" + key}})
		g.addresses = append(g.addresses, fmt.Sprintf("203.0.%d.%d", rng.IntN(256), rng.IntN(256)))
	}
	for range tenants {
		g.parties = append(g.parties, "entra:"+guid(rng)+"/00000002-0000-0ff1-ce00-000000000000")
	}
	return g
}

func guid(rng *rand.Rand) string {
	a, b := rng.Uint64(), rng.Uint64()
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", uint32(a), uint16(a>>32), uint16(a>>48), uint16(b), b>>16)
}

// next sets u to the next record.
func (g *generator) next(u *tallystick.Use) {
	g.n++
	if g.n%2 == 0 {
		g.relying(u)
		return
	}
	// Records come in order, give or take a second.
	at := g.start.Add(time.Duration(g.n)*g.step + time.Duration(g.rng.Int64N(int64(time.Second)))).Truncate(time.Microsecond)
	c := int(g.zipf.Uint64())
	broker := c % len(g.seqs)
	g.seqs[broker]++
	*u = tallystick.Use{
		Source: brokers[broker], Seq: g.seqs[broker], Side: tallystick.SideHolder, Level: tallystick.LevelToken, Time: at, Until: at, Count: 1,
		Credential: g.credentials[c][0], Holder: "internal-mail-protection", RelyingParty: g.parties[c%tenants], Outcome: tallystick.OutcomeSuccess,
		Address: g.addresses[c/4],
	}
	if g.rng.Float64() < g.shape.uti {
		u.IDs.UTI = g.uti()
	}
	if g.shape.correlation {
		u.IDs.Correlation = guid(g.rng)
	}
	g.last = *u
	g.last.Credential = g.credentials[c][1]
}

var brokers = [8]string{"broker-eu-1", "broker-eu-2", "broker-us-1", "broker-us-2", "broker-us-3", "broker-ap-1", "broker-za-1", "broker-uk-1"}

func (g *generator) relying(u *tallystick.Use) {
	*u = g.last
	u.Source, u.Seq, u.Side = "entra-signin", 0, tallystick.SideRelying
	u.Time = u.Time.Add(300 * time.Millisecond)
	u.Until = u.Time
	u.Holder, u.Resource = "Mail Protection", "Office 365 Exchange Online"
	if g.shape.recordID {
		u.ID = guid(g.rng)
	}
}

// uti writes 16 random bytes as Entra ID does.
func (g *generator) uti() string {
	var raw [16]byte
	binary.LittleEndian.PutUint64(raw[:], g.rng.Uint64())
	binary.LittleEndian.PutUint64(raw[8:], g.rng.Uint64())
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
