// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tallystick/tallystick/internal/custody"
)

// cmdSecret puts secrets into a data directory, as features do: secret DIR NAME...
func cmdSecret(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: secret DIR NAME...")
	}
	p := &program{out: io.Discard, err: io.Discard, getenv: ts.Getenv, now: time.Now}
	ctx := context.Background()
	c, err := p.load(dataFlags{data: ts.MkAbs(args[0])})
	ts.Check(err)
	h, err := p.open(ctx, c)
	ts.Check(err)
	defer func() { ts.Check(h.close()) }()
	for _, name := range args[1:] {
		one, err := h.openCustody(ctx)
		ts.Check(err)
		_, err = one.Put(ctx, custody.Owner{Kind: "test-secret", Name: "test/" + name}, []byte("the secret "+name))
		ts.Check(err)
	}
}
