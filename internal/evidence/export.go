// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
)

// Export writes the evidence of a recall to w, and a record of that to the audit log
// before. What has happened so far is in it, so it can be made at any time and again.
// When it returns an error, what was written is no evidence. It asks no gate.
func Export(ctx context.Context, w io.Writer, s Source) (Manifest, error) {
	p, err := newPacker()
	if err != nil {
		return Manifest{}, err
	}
	e := export{Source: s, packer: p, summary: newSummary(), manifest: Manifest{Format: Format, Recall: s.Recall.Name, Made: s.Now.UTC(), By: s.By.Name}}
	err = e.pack(ctx)
	if err == nil {
		err = p.writeTo(w)
	}
	if err := errors.Join(err, p.close()); err != nil {
		return Manifest{}, fmt.Errorf("couldn't export the evidence of %s: %w", s.Recall.Name, err)
	}
	return e.manifest, nil
}

// An export is the state of one Export.
type export struct {
	Source
	packer   *packer
	summary  *summary
	manifest Manifest
	events   []Event // the first
	further  int64   // events beside those
	last     int64   // the number of the last record that is quoted
}

// pack packs all members.
func (e *export) pack(ctx context.Context) error {
	for _, step := range []func(context.Context) error{e.targets, e.steps, e.timeline, e.records, e.words, e.seal} {
		if err := step(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (e *export) targets(context.Context) error {
	return e.packer.lines(targetsName, func(add func(any) error) error {
		for t, err := range e.Targets {
			if err != nil {
				return err
			}
			e.summary.addTarget(t)
			if err := add(t); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *export) steps(context.Context) error {
	return e.packer.lines(stepsName, func(add func(any) error) error {
		for step, err := range e.Steps {
			if err != nil {
				return err
			}
			e.summary.addStep(step)
			if err := sameJSON(step.Result); err != nil {
				return fmt.Errorf("step %d: %w", step.ID, err)
			}
			if err := add(step); err != nil {
				return err
			}
		}
		return nil
	})
}

// sameJSON says whether a result is written byte for byte as it is: its hash is on record.
func sameJSON(result json.RawMessage) error {
	if len(result) == 0 {
		return nil
	}
	if text, err := json.Marshal(result); err != nil || !bytes.Equal(text, result) {
		return fmt.Errorf("%w: its result is not written as json.Marshal does", tallystick.ErrDamaged)
	}
	return nil
}

func (e *export) timeline(context.Context) error {
	return e.packer.lines(eventsName, func(add func(any) error) error {
		for event, err := range e.Events {
			if err != nil {
				return err
			}
			if len(e.events) < reportRows {
				e.events = append(e.events, event)
			} else {
				e.further++
			}
			if err := add(event); err != nil {
				return err
			}
		}
		return nil
	})
}

// ours says whether a record of the log is about the recall: about its name, or about
// opening one of what was burnt, which is asked before it has a name.
func ours(recall string, what tallystick.Burnt) func(audit.Entry) bool {
	object, burnt := audit.RecallObject(recall), what.String()
	return func(r audit.Entry) bool {
		return r.Object == object || strings.HasPrefix(r.Object, object+"/") || r.Action == string(gate.OpenRecall) && r.Object == burnt
	}
}

// records quotes the audit log.
func (e *export) records(ctx context.Context) error {
	prover, err := e.Log.Prover(ctx)
	if err != nil {
		return err
	}
	return e.packer.lines(recordsName, func(add func(any) error) error {
		return prover.Each(ctx, e.Recall.Opened, ours(e.Recall.Name, e.Recall.What), func(_ audit.Entry, p audit.Proof) error {
			e.last = p.Record
			return add(quote{p.Record, p.Text})
		})
	})
}

// words packs what is made of the rest, and the document.
func (e *export) words(context.Context) error {
	doc := Document{Recall: e.Recall, States: e.summary.states, Uses: e.Uses}
	if err := e.packer.lines(recallName, func(add func(any) error) error { return add(doc) }); err != nil {
		return err
	}
	page := report{
		Document: doc, Verdict: e.summary.verdict(e.Recall), Key: e.Log.VerifierKey(), Made: e.Now, By: e.By.Name,
		Targets: e.summary.rows, Events: e.events, Missing: e.further, summary: e.summary,
	}
	if len(page.Targets) > reportRows {
		page.Targets, page.More = page.Targets[:reportRows], len(page.Targets)-reportRows
	}
	if err := e.packer.add(reportName, deflated, func(w io.Writer) error { return writeReport(w, page) }); err != nil {
		return err
	}
	if err := e.packer.add(tableName, deflated, e.summary.writeTable); err != nil {
		return err
	}
	return e.packer.add(readmeName, deflated, func(w io.Writer) error {
		_, err := io.WriteString(w, readmeText)
		return err
	})
}

// sealDetail is what the record of a manifest says.
func sealDetail(digest string) string { return "manifest sha256:" + digest }

// seal packs the manifest, has the log keep its hash, and proves that and the quotes. The two
// members are not packed more tightly: nothing holds the hash of their bytes, so they
// must be such that no other bytes mean the same.
func (e *export) seal(ctx context.Context) error {
	e.manifest.Members = e.packer.members()
	if err := e.packer.add(manifestName, stored, func(w io.Writer) error { return writeLine(w, e.manifest) }); err != nil {
		return err
	}
	sealed := audit.Record{
		Time: e.Now, Actor: e.By.Name, Role: e.By.Role.String(), Via: e.By.Via, Action: SealAction,
		Object: audit.RecallObject(e.Recall.Name), Allowed: true, Detail: sealDetail(e.packer.parts[manifestName].SHA256),
	}
	if err := e.Log.Append(ctx, sealed); err != nil {
		return err
	}
	prover, err := e.Log.Prover(ctx)
	if err != nil {
		return err
	}
	first := seal{Checkpoint: prover.Checkpoint}
	is := func(r audit.Entry) bool { return r.Action == SealAction && r.Detail == sealed.Detail }
	err = prover.Each(ctx, e.Now.Add(-time.Minute), is, func(_ audit.Entry, p audit.Proof) error {
		first.Proof = p
		return nil
	})
	if err != nil {
		return err
	}
	return e.packer.add(proofName, stored, func(w io.Writer) error {
		if err := writeLine(w, first); err != nil {
			return err
		}
		return e.prove(ctx, w, prover)
	})
}

// prove writes a line for each quote.
func (e *export) prove(ctx context.Context, w io.Writer, prover *audit.Prover) error {
	about := ours(e.Recall.Name, e.Recall.What)
	quoted := func(r audit.Entry) bool { return r.ID <= e.last && about(r) }
	var before []tlog.Hash
	return prover.Each(ctx, e.Recall.Opened, quoted, func(_ audit.Entry, p audit.Proof) error {
		line := shorten(p.Record, p.Path, before)
		before = p.Path
		return writeLine(w, line)
	})
}
