// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// The directory of a renewal holds four links, which lead through the link
// .tally/current into a directory of the order that they came from:
//
//	key.pem -> .tally/current/key.pem      .tally/current -> 4711
//	cert.pem, chain.pem, fullchain.pem     .tally/4711/key.pem ...
//
// All of an order's files are written and synced before current is turned by one
// rename, so at every instant the links lead to files of one order. Files that are
// there before the first order are taken into a directory of their own first.
const (
	fileKey       = "key.pem"
	fileCert      = "cert.pem"
	fileChain     = "chain.pem"
	fileFullChain = "fullchain.pem"

	inner   = ".tally"
	current = inner + "/current"
	lock    = inner + "/lock"
	before  = "0" // the directory of what was there before the first order
)

// fileNames are the links, with the mode of a file that is new.
var fileNames = [...]struct {
	name string
	mode fs.FileMode
}{{fileKey, 0o600}, {fileCert, 0o644}, {fileChain, 0o644}, {fileFullChain, 0o644}}

// deliver writes the files of an order.
func (j *job) deliver(ctx context.Context) error {
	o := j.order
	if j.renewal.Directory != "" {
		key, err := j.Keys.Get(ctx, o.KeyID)
		if err != nil {
			return fmt.Errorf("couldn't read the key: %w", err)
		}
		defer clear(key)
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
		defer clear(text)
		// The lease is looked at under the lock of the directory, right before the
		// turn: a process that stalled must not put back what is older.
		mine := func() error { return j.claimed(j.DB.LeaseOrder(ctx, o, j.until())) }
		if err := writeFiles(j.renewal.Directory, o.ID, text, o.Chain, mine); err != nil {
			if errors.Is(err, errLost) {
				return err
			}
			return fmt.Errorf("couldn't write to %s: %w", j.renewal.Directory, err)
		}
	}
	if j.renewal.Hook != "" {
		o.Step = store.StepHook
		return j.keep(ctx, o)
	}
	return j.finish(ctx)
}

// finish ends an order that is done.
func (j *job) finish(ctx context.Context) error {
	if err := j.claimed(j.DB.FinishOrder(ctx, j.order, j.Now())); err != nil {
		return err
	}
	j.order.Step = store.StepDone
	return nil
}

// splitChain returns the certificate alone, and what is above it.
func splitChain(chain []byte) (certificate, above []byte) {
	_, above = pem.Decode(chain)
	return chain[:len(chain)-len(above)], above
}

// writeFiles puts key and certificate of an order into a directory. It may be
// repeated; what was written half is written anew.
func writeFiles(directory string, order int64, key, chain []byte, mine func() error) (err error) {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(directory) // what is in it does not lead out of it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	d := &delivery{root: root, id: strconv.FormatInt(order, 10)}
	if err := root.Mkdir(inner, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := d.adopt(); err != nil {
		return err
	}
	certificate, above := splitChain(chain)
	files := map[string][]byte{fileKey: key, fileCert: certificate, fileChain: above, fileFullChain: chain}
	if err := d.write(d.id, files, d.likeNow()); err != nil {
		return err
	}
	if err := mine(); err != nil {
		return err
	}
	if err := d.turn(d.id); err != nil {
		return err
	}
	if err := d.link(); err != nil {
		return err
	}
	return d.drop()
}

// A delivery writes to one directory.
type delivery struct {
	root *os.Root
	id   string
}

// lock keeps other processes of this machine out.
func (d *delivery) lock() (unlock func() error, err error) {
	f, err := d.root.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = fmt.Errorf("somebody else writes there: %w", err)
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// look is how a file is: its mode, and whose it is.
type look struct {
	mode     fs.FileMode
	uid, gid int
}

// likeNow returns how the files are that are there now, so that the next ones are
// the same; their key is nobody else's when there are none.
func (d *delivery) likeNow() map[string]look {
	likes := map[string]look{}
	for _, f := range fileNames {
		likes[f.name] = look{mode: f.mode, uid: -1, gid: -1}
		if info, err := d.root.Stat(f.name); err == nil && info.Mode().IsRegular() {
			likes[f.name] = lookOf(info)
		}
	}
	return likes
}

func lookOf(info fs.FileInfo) look {
	l := look{mode: info.Mode().Perm(), uid: -1, gid: -1}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		l.uid, l.gid = int(s.Uid), int(s.Gid)
	}
	return l
}

// adopt takes files that are there, and are no links of ours, into a directory that
// current leads to, and puts links in their places. What readers find stays the same.
// All links are in their places before current leads anywhere else.
func (d *delivery) adopt() error {
	at, err := d.root.Readlink(current)
	if err == nil && at != before {
		return nil
	}
	if err != nil {
		if found, err := d.copyOld(); err != nil || !found {
			return err
		}
		if err := d.turn(before); err != nil {
			return err
		}
	}
	for _, f := range fileNames {
		if _, err := d.root.Lstat(inner + "/" + before + "/" + f.name); err == nil {
			if err := d.linkOne(f.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyOld copies the files that are there into a version of their own, and says
// whether there are any.
func (d *delivery) copyOld() (found bool, err error) {
	files := map[string][]byte{}
	for _, f := range fileNames {
		info, err := d.root.Stat(f.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if !info.Mode().IsRegular() || info.Size() > 1<<20 {
			return false, problem.With(fmt.Errorf("%s is there and is no file of a certificate", f.name), "move it away, or name another directory")
		}
		if files[f.name], err = d.root.ReadFile(f.name); err != nil {
			return false, err
		}
		defer clear(files[f.name])
	}
	if len(files) == 0 {
		return false, nil
	}
	return true, d.write(before, files, d.likeNow())
}

// write makes the directory of a version with all that is in it, durable, or not
// at all.
func (d *delivery) write(version string, files map[string][]byte, likes map[string]look) error {
	made := inner + "/" + version
	if _, err := d.root.Lstat(made); err == nil {
		return nil // it was renamed when all of it was there
	}
	partial := inner + "/." + version + ".new"
	if err := d.root.RemoveAll(partial); err != nil {
		return err
	}
	err := d.root.Mkdir(partial, 0o755)
	for name, text := range files {
		if err == nil {
			err = d.writeFile(partial+"/"+name, text, likes[name])
		}
	}
	if err == nil {
		err = d.sync(partial)
	}
	if err == nil {
		err = d.root.Rename(partial, made)
	}
	if err == nil {
		return d.sync(inner)
	}
	_ = d.root.RemoveAll(partial) // the error that matters is err
	return err
}

func (d *delivery) writeFile(name string, text []byte, like look) (err error) {
	f, err := d.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if like.uid >= 0 {
		if info, err := f.Stat(); err == nil && (lookOf(info).uid != like.uid || lookOf(info).gid != like.gid) {
			if err := f.Chown(like.uid, like.gid); err != nil {
				return problem.With(fmt.Errorf("couldn't give it the owner of the file before it: %w", err), "run tally as root, or give the files to the user that it runs as")
			}
		}
	}
	if err := f.Chmod(like.mode); err != nil { // after the owner: to change that takes modes away
		return err
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.Sync()
}

// turn makes current lead to a version, by one rename.
func (d *delivery) turn(version string) error {
	return d.replace(version, current)
}

// replace puts a link in place of whatever has its name.
func (d *delivery) replace(to, name string) error {
	temporary := inner + "/.link.new"
	if err := d.root.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.root.Symlink(to, temporary); err != nil {
		return err
	}
	if err := d.root.Rename(temporary, name); err != nil {
		return err
	}
	return d.sync(filepath.Dir(name))
}

// link puts the links in place that are missing.
func (d *delivery) link() error {
	for _, f := range fileNames {
		if err := d.linkOne(f.name); err != nil {
			return err
		}
	}
	return nil
}

func (d *delivery) linkOne(name string) error {
	to := current + "/" + name
	if at, err := d.root.Readlink(name); err == nil && at == to {
		return nil
	}
	return d.replace(to, name)
}

// drop removes the versions that are older than the one before the current one.
func (d *delivery) drop() error {
	entries, err := fs.ReadDir(d.root.FS(), inner)
	if err != nil {
		return err
	}
	var versions []int64
	for _, entry := range entries {
		if n, err := strconv.ParseInt(entry.Name(), 10, 64); err == nil && entry.IsDir() {
			versions = append(versions, n)
		} else if strings.HasSuffix(entry.Name(), ".new") {
			if err := d.root.RemoveAll(inner + "/" + entry.Name()); err != nil {
				return err
			}
		}
	}
	slices.Sort(versions)
	for _, n := range versions[:max(len(versions)-2, 0)] {
		if err := d.root.RemoveAll(inner + "/" + strconv.FormatInt(n, 10)); err != nil {
			return err
		}
	}
	return nil
}

// sync makes durable what a directory lists.
func (d *delivery) sync(name string) error {
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
