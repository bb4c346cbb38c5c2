// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/reconcile"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// importFlags are the flags of "tally ledger import".
type importFlags struct {
	dataFlags
	reconcileFlags
	as string
}

func (p *program) ledgerImport() *cobra.Command {
	var flags importFlags
	cmd := &cobra.Command{
		Use:   "import [--holder FILE...] [--relying [FORMAT:]FILE...]",
		Short: "Take files of uses into the ledger, once",
		Long: `Take files of uses into the ledger, once. Files are named as for "tally reconcile".
Use records keep the books that they name; any other file is the book of its name
without endings, or of --as. What is in the ledger already changes nothing, so the
same file can be taken in twice.

A running "tally up" does the work; without one it is done here. --close-at-end
says that the holders' books are complete as they are, and needs that none runs.

` + ledgerStatuses(),
		Example: `  tally ledger import --holder broker-*.ndjson --relying signins.json --close-at-end
  tally ledger import --as edge --relying nginx:/var/log/nginx/tally.log.1.gz`,
		DisableFlagParsing: true, // as for reconcile
		RunE: withFileLists(func(cmd *cobra.Command) error {
			list, err := flags.files()
			if err != nil {
				return err
			}
			return p.importFiles(cmd.Context(), flags, list)
		}),
	}
	flags.addTo(cmd)
	cmd.Flags().StringArrayVar(&flags.holder, "holder", nil, "`FILE...` that those wrote who have the key")
	cmd.Flags().StringArrayVar(&flags.relying, "relying", nil, "`[FORMAT:]FILE...` that those wrote who accept it")
	cmd.Flags().StringVar(&flags.as, "as", "", "the `NAME` of the book of one file that is not of use records")
	cmd.Flags().BoolVar(&flags.closeAtEnd, "close-at-end", false, "take the holders' books for complete")
	return cmd
}

// files returns the files as sources that are read once.
func (f importFlags) files() ([]store.Source, error) {
	var list []store.Source
	for _, one := range []struct {
		side  tallystick.Side
		files []string
	}{{tallystick.SideHolder, f.holder}, {tallystick.SideRelying, f.relying}} {
		for _, file := range one.files {
			inputs, err := inputsOf(file, one.side)
			if err != nil {
				return nil, err
			}
			for _, in := range inputs {
				source, err := f.sourceOf(in)
				if err != nil {
					return nil, err
				}
				list = append(list, source)
			}
		}
	}
	switch {
	case len(list) == 0:
		return nil, misuse(errors.New("no file is named"), "write --holder or --relying and the files behind it")
	case f.as != "" && len(list) > 1:
		return nil, misuse(errors.New("--as names the book of one file, and there are several"), "import them one after the other")
	}
	return list, nil
}

func (f importFlags) sourceOf(in reconcile.Input) (store.Source, error) {
	if in.Path == "-" {
		return store.Source{}, misuse(errors.New("the ledger takes in files, and not standard input"), "write it to a file")
	}
	path, err := filepath.Abs(in.Path)
	if err != nil {
		return store.Source{}, fmt.Errorf("couldn't find %s: %w", in.Path, err)
	}
	name := f.as
	if name == "" {
		name, _, _ = strings.Cut(filepath.Base(path), ".")
	}
	return store.Source{
		Name: name, Kind: store.SourceFile, Side: in.Side, Format: in.Format, Path: path, Once: true, KeepRaw: sources.DefaultKeepRaw,
	}, nil
}

// importFiles has the files taken in, by the server that has the ledger or here.
func (p *program) importFiles(ctx context.Context, flags importFlags, list []store.Source) (err error) {
	c, err := p.load(flags.dataFlags)
	if err != nil {
		return err
	}
	if attended(c.Data) {
		if flags.closeAtEnd {
			return misuse(errors.New("--close-at-end needs that no \"tally up\" works on the data"), "stop it, or have the holders write closing marks")
		}
		err := p.inside(ctx, flags.dataFlags, func(ctx context.Context, h *house) error { return p.importAll(ctx, h, list, nil) })
		if err != nil {
			return err
		}
		return p.insideLedger(ctx, flags.dataFlags, func(_ context.Context, _ *house, u *usage.Usage) error {
			p.tellOpen(u.Ledger.Books())
			return nil
		})
	}
	lock, err := lockData(c.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.close()) }()
	h, err := p.open(ctx, c)
	if err != nil {
		return err
	}
	t, err := p.openTally(ctx, h, p.newLog(false))
	if err != nil {
		return errors.Join(err, h.close())
	}
	err = p.importHere(ctx, h, t, flags, list)
	return errors.Join(err, t.close(), h.close())
}

// importHere does the work of a server for as long as it takes.
func (p *program) importHere(ctx context.Context, h *house, t *tallying, flags importFlags, list []store.Source) error {
	began := p.now()
	working, stop := context.WithCancel(ctx)
	defer stop()
	var parts sync.WaitGroup
	t.run(working, &parts, p.newLog(false))
	err := p.importAll(ctx, h, list, t.sources)
	if err == nil && flags.closeAtEnd {
		err = t.closeBooks(ctx, began, p.now())
	}
	stop()
	parts.Wait()
	if err != nil {
		return err
	}
	if err := t.watch.Finish(ctx); err != nil {
		return err
	}
	said := t.watch.Counts().Said
	if n := said[tallystick.VerdictForeign]; n > 0 {
		p.say("%d foreign uses: \"tally ledger incidents\" says whose they are", n)
	}
	p.tellOpen(t.ledger.Books())
	return nil
}

// tellOpen says that nothing is called foreign yet, where a holder's book says
// nothing of how far it is complete.
func (p *program) tellOpen(books []ledger.Book) {
	for _, b := range books {
		if b.Side == tallystick.SideHolder && b.Closed.IsZero() && b.Records > 0 {
			p.say("the holder's book %s never said how far it is complete, so uses wait for it", clean(b.Source))
			p.say("hint: import it with --close-at-end while no \"tally up\" runs, or end it with \"tally ledger end\"")
			return
		}
	}
}

// closeBooks says that the holders' books are complete now that were heard since a time.
func (t *tallying) closeBooks(ctx context.Context, since, now time.Time) error {
	var batch ledger.Batch
	for _, b := range t.ledger.Books() {
		if b.Side == tallystick.SideHolder && !b.Heard.Before(since) && !b.Last.IsZero() {
			mark := ledger.Mark{ClosingMark: tallystick.ClosingMark{Source: b.Source, Side: b.Side, Closed: now}}
			batch.Marks = append(batch.Marks, mark)
		}
	}
	_, err := t.watch.Append(ctx, "", batch, nil)
	return err
}

// importStep is how often files that are taken in are looked at.
const importStep = 200 * time.Millisecond

// importAll adds the files and waits until all of them are read.
func (p *program) importAll(ctx context.Context, h *house, list []store.Source, here *sources.Sources) error {
	all := here
	if all == nil {
		all = p.sources(h)
	}
	for _, one := range list {
		old, err := h.db.Source(ctx, one.Name)
		switch {
		case errors.Is(err, tallystick.ErrNotFound):
		case err != nil:
			return err
		case !old.Once:
			return problem.With(fmt.Errorf("%w: %s is the name of a source that is read", tallystick.ErrInvalid, one.Name), "give the book of the file another name with --as")
		default:
			if err := all.Remove(ctx, h.actor, one.Name); err != nil {
				return err
			}
		}
		if _, _, err := all.Add(ctx, h.actor, one, ""); err != nil {
			return err
		}
		done, err := p.waitFor(ctx, h, one.Name)
		if err != nil {
			// Nobody wants it tried again and again.
			return errors.Join(err, all.Remove(context.WithoutCancel(ctx), h.actor, one.Name))
		}
		fmt.Fprintf(p.out, "%s: %d records, %d there already, %d malformed\n", clean(one.Path), done.Records, done.Duplicates, done.Malformed)
		for _, wrong := range done.Wrong {
			p.say("  %s", clean(wrong))
		}
	}
	return nil
}

// waitFor waits until a file is read.
func (p *program) waitFor(ctx context.Context, h *house, name string) (store.Source, error) {
	tick := time.NewTicker(importStep)
	defer tick.Stop()
	for {
		one, err := h.db.Source(ctx, name)
		if err != nil {
			return one, err
		}
		if !one.Done.IsZero() {
			return one, nil
		}
		if one.Error != "" {
			return one, fmt.Errorf("couldn't read %s: %s", clean(one.Path), clean(one.Error))
		}
		select {
		case <-ctx.Done():
			return one, ctx.Err()
		case <-tick.C:
		}
	}
}
