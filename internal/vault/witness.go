// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// ErrStale says that a newer version of a secret was kept than the database has.
var ErrStale = errors.New("this value is stale: a newer one was lost when the database was restored")

// ErrNoWitness says that nothing outside of the database tells how far the vault had come.
var ErrNoWitness = errors.New("the witness of the vault is missing")

// A witness is a file outside of the database that has one line for each change of the
// vault, "+ NUMBER ID VERSION", and behind those of one change "= NUMBER MARK". The
// database is written first, and holds each change with its number, so that lines which a
// crash has cut off are added afterwards; when the file is ahead, the database is an old one.
type witness struct {
	file *os.File
	size int64
}

// openWitness opens the file of a vault and locks it against other processes.
func openWitness(dir string, head store.VaultHead, create bool) (*witness, error) {
	path := filepath.Join(dir, "vault-"+head.Vault+".witness")
	flags := os.O_RDWR
	if create {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("couldn't make the directory of the witness: %w", err)
		}
		flags |= os.O_CREATE
	}
	file, err := os.OpenFile(path, flags|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, problem.With(fmt.Errorf("%w: %w: there is no file %s", ErrNoWitness, tallystick.ErrUnavailable, path),
			`bring the file back, or set vault.witness to the directory that it is in; when it is lost for good and this database is not an old copy, run "tally vault check --accept"`)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't open the witness: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
	info, statErr := file.Stat()
	if err = errors.Join(err, statErr); err == nil && create && info.Size() == 0 {
		err = syncDirectory(dir) // its name is as durable as what will be in it
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't lock the witness: %w", err), file.Close())
	}
	return &witness{file, info.Size()}, nil
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (w *witness) close() error { return w.file.Close() } // the lock goes with it

// tailSize is how much of the end of the file is read to find its last mark.
const tailSize = 4 << 10

// last returns the number and the mark of the newest change that is whole; 0 is none.
func (w *witness) last() (number int64, mark string, err error) {
	from := max(0, w.size-tailSize)
	tail := make([]byte, w.size-from)
	if _, err := w.file.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return 0, "", fmt.Errorf("couldn't read the witness: %w", err)
	}
	if i := bytes.LastIndex(tail, []byte("\n= ")); i >= 0 {
		if line, _, whole := strings.Cut(string(tail[i+1:]), "\n"); whole {
			if n, err := fmt.Sscanf(line, "= %d %s", &number, &mark); n == 2 && err == nil {
				return number, mark, nil
			}
		}
	}
	err = w.each(func(line string) {
		var n int64
		var m string
		if count, err := fmt.Sscanf(line, "= %d %s", &n, &m); count == 2 && err == nil {
			number, mark = n, m
		}
	})
	return number, mark, err
}

// each calls fn for every whole line.
func (w *witness) each(fn func(string)) error {
	lines := bufio.NewReader(io.NewSectionReader(w.file, 0, w.size))
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil // what is not whole was never true
		}
		if err != nil {
			return fmt.Errorf("couldn't read the witness: %w", err)
		}
		fn(strings.TrimSuffix(line, "\n"))
	}
}

// beyond returns what was changed after a head, the last change of each secret.
func (w *witness) beyond(head store.VaultHead) ([]store.VaultChange, error) {
	marks, newest := map[string]bool{}, map[string]store.VaultChange{}
	err := w.each(func(line string) {
		var c store.VaultChange
		if n, err := fmt.Sscanf(line, "+ %d %s %d", &c.Number, &c.ID, &c.Version); n == 3 && err == nil && c.Number >= head.Number {
			c.Version = max(c.Version, newest[c.ID].Version)
			newest[c.ID] = c
		}
		var number int64
		var mark string
		if n, err := fmt.Sscanf(line, "= %d %s", &number, &mark); n == 2 && err == nil && number == head.Number {
			marks[mark] = true
		}
	})
	var list []store.VaultChange
	for _, c := range newest {
		if c.Number > head.Number || !marks[head.Mark] {
			list = append(list, c)
		}
	}
	return list, err
}

// add writes the lines of a change.
func (w *witness) add(head store.VaultHead, changes []store.VaultChange) error {
	var text bytes.Buffer
	text.WriteByte('\n') // behind what a crash has cut off
	for _, c := range changes {
		fmt.Fprintf(&text, "+ %d %s %d\n", c.Number, c.ID, c.Version)
	}
	fmt.Fprintf(&text, "= %d %s\n", head.Number, head.Mark)
	_, err := w.file.WriteAt(text.Bytes(), w.size)
	w.size += int64(text.Len())
	if err = errors.Join(err, w.file.Sync()); err != nil {
		return fmt.Errorf("couldn't write the witness: %w", err)
	}
	return nil
}

// change makes one change of the vault: fn goes from one head to the next and returns
// what it has changed. The witness has it before this returns.
func (v *Vault) change(ctx context.Context, fn func(from, to store.VaultHead) ([]store.VaultChange, error)) error {
	return v.witnessed(ctx, func(w *witness, head store.VaultHead) error {
		next := following(head, head.Number)
		changes, err := fn(head, next)
		if err != nil {
			return err
		}
		return w.add(next, changes)
	})
}

// following returns the head after a number, with a mark of its own.
func following(head store.VaultHead, number int64) store.VaultHead {
	return store.VaultHead{Vault: head.Vault, Number: number + 1, Mark: strings.ToLower(rand.Text())[:12]}
}

// witnessed calls fn, which may be nil, while nobody else changes the vault, and the
// database and the witness agree.
func (v *Vault) witnessed(ctx context.Context, fn func(*witness, store.VaultHead) error) (err error) {
	v.changing.Lock()
	defer v.changing.Unlock()
	head, err := v.head(ctx)
	if err != nil {
		return err
	}
	w, err := openWitness(v.Witness, head, head.Number == 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if head, err = v.head(ctx); err != nil { // as it is now that we are alone
		return err
	}
	if head, err = v.settle(ctx, w, head); err != nil || fn == nil {
		return err
	}
	return fn(w, head)
}

func (v *Vault) head(ctx context.Context) (store.VaultHead, error) {
	return v.DB.VaultHead(ctx, strings.ToLower(rand.Text()))
}

// settle makes the witness and the database agree: it adds what a crash has cut off, or
// marks as stale what a restored database does not know. It returns the head.
func (v *Vault) settle(ctx context.Context, w *witness, head store.VaultHead) (store.VaultHead, error) {
	number, mark, err := w.last()
	if err != nil || number == head.Number && mark == head.Mark {
		return head, err
	}
	if number < head.Number {
		changes, err := v.DB.VaultChanges(ctx, number)
		if err != nil {
			return head, err
		}
		return head, w.add(head, changes)
	}
	lost, err := w.beyond(head)
	if err != nil {
		return head, err
	}
	itself := gate.Actor{Name: "tallystick", Role: gate.Admin, Via: "local"}
	what := fmt.Sprintf("vault: the database is at change %d of %d, as after a restore: %d secrets are stale or missing", head.Number, number, len(lost))
	if err := v.Gate.Check(ctx, itself, gate.ManageVault, what); err != nil {
		return head, err
	}
	next := following(head, number)
	if err := v.DB.LoseEntrusted(ctx, head, next, lost, v.Now()); err != nil {
		return head, err
	}
	return next, w.add(next, nil)
}

// Fresh looks whether the database is as new as the witness, and marks what is stale. A
// vault that nothing was entrusted to needs no witness.
func (v *Vault) Fresh(ctx context.Context) error {
	head, err := v.head(ctx)
	if err != nil || head.Number == 0 && !v.hasWitness(head) {
		return err
	}
	return v.witnessed(ctx, nil)
}

func (v *Vault) hasWitness(head store.VaultHead) bool {
	_, err := os.Lstat(filepath.Join(v.Witness, "vault-"+head.Vault+".witness"))
	return err == nil
}

// ForgetMissing says that what the database has lost altogether is not missed any more.
func (v *Vault) ForgetMissing(ctx context.Context, actor gate.Actor) error {
	if err := v.Gate.Check(ctx, actor, gate.ManageVault, "vault: miss no more what the database has lost"); err != nil {
		return err
	}
	return v.DB.ForgetMissing(ctx)
}

// Accept makes a new witness of the database as it is, where the old one is lost. Whoever
// asks for it says that the database is not an old copy.
func (v *Vault) Accept(ctx context.Context, actor gate.Actor) error {
	if err := v.Gate.Check(ctx, actor, gate.ManageVault, "vault: believe the database, without a witness"); err != nil {
		return err
	}
	head, err := v.head(ctx)
	if err != nil {
		return err
	}
	if v.hasWitness(head) {
		return problem.With(fmt.Errorf("%w: the witness is there", tallystick.ErrInvalid), `run "tally vault check": it says what is stale`)
	}
	w, err := openWitness(v.Witness, head, true)
	if err != nil {
		return err
	}
	return errors.Join(w.close(), v.witnessed(ctx, nil))
}
