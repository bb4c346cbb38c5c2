// SPDX-License-Identifier: Apache-2.0

// Package editing changes single entries of files in which others write at the same time: the
// accounts of a mail server, the passwords of a relay.
//
// A file is replaced as a whole, and only where it is still what the change was made from;
// else the change is made once more. That is done by one command on the machine of the file,
// under a lock on its directory (flock(1)), so that any number of processes of Tallystick on
// any number of machines may edit one file. It needs flock and the programs of coreutils, or
// of busybox. Those of one process wait for each other in a Queue.
package editing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/network"
)

const (
	// MaxFile bounds the files that are edited, in bytes: some hundred thousand accounts.
	MaxFile = 32 << 20
	// mostTries bounds how often a change is made anew. Each time somebody else was done.
	mostTries = 1_000
	lockWait  = 60 * time.Second // for those who write before us, each for some milliseconds
)

// The exit statuses of the commands, beside that of flock, whose own is 1.
const (
	exitLocked  = 74 // the lock was not to be had
	exitChanged = 75 // the file is not what it was
)

// A File is one that is edited.
type File struct {
	Host driver.Host
	Path string
	// Like is a file whose mode, owner and access list this one gets where it is not there yet.
	Like string
	// Queue is where those of this process wait who read or edit files; nil where nobody does
	// so at once.
	Queue *Queue
}

// Read gives look what is in the file; a file that is not there is empty. One that is longer
// than MaxFile is ErrInvalid. look keeps no part of the text: all of it would stay in memory.
func (f File) Read(ctx context.Context, look func(text []byte)) error {
	leave, err := f.Queue.enter(ctx, f)
	if err != nil {
		return err
	}
	defer leave()
	text, _, err := f.read(ctx)
	if err == nil {
		look(text)
	}
	return err
}

func (f File) read(ctx context.Context) (text []byte, there bool, err error) {
	text, err = f.Host.ReadFile(ctx, f.Path, MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("couldn't read %s: %w", f.Path, err)
	}
	return text, true, nil
}

// Edit gives the file what change makes of it, which may be called several times and may write
// into the text, and says whether that was anything new. The file keeps its mode, owner and access list, and readers find
// it as it was or as it shall be. Its time of change always goes on by a second at least,
// because that and its size are all by which many a server sees that it was changed.
//
// An error of change is returned, and nothing has been written then; nor has it where the file
// is longer than MaxFile, or would be, which is ErrInvalid. After any other error nobody knows
// whether it was.
func (f File) Edit(ctx context.Context, change func(text []byte) ([]byte, error)) (bool, error) {
	leave, err := f.Queue.enter(ctx, f)
	if err != nil {
		return false, err
	}
	defer leave()
	for range mostTries {
		before, there, err := f.read(ctx)
		if err != nil {
			return false, err
		}
		sum := sha256.Sum256(before)
		after, err := change(before)
		if err != nil || sha256.Sum256(after) == sum {
			return false, err
		}
		if len(after) > MaxFile {
			return false, fmt.Errorf("%w: %s would be longer than the %d MiB that are edited here: keep accounts in several files", tallystick.ErrInvalid, f.Path, MaxFile>>20)
		}
		done, err := f.swap(ctx, sum, there, after)
		if err != nil || done {
			return done, err
		}
		if err := network.Sleep(ctx, rand.N(20*time.Millisecond)); err != nil {
			return false, err
		}
	}
	return false, fmt.Errorf("%w: %s is changed by others all the time", tallystick.ErrUnavailable, f.Path)
}

// swap writes the file where it is still what it was, by its sum, and says whether it was.
func (f File) swap(ctx context.Context, before [sha256.Size]byte, there bool, after []byte) (bool, error) {
	sum := ""
	if there {
		sum = hex.EncodeToString(before[:])
	}
	output, err := Locked(ctx, f.Host, f.Path, swapping, after, sum, f.Like)
	switch {
	case err != nil:
		return false, fmt.Errorf("couldn't write %s: %w", f.Path, err)
	case output.Exit == exitChanged:
		return false, nil
	case output.Exit != 0:
		return false, fmt.Errorf("couldn't write %s: exit status %d: %s", f.Path, output.Exit, installing.Said(output))
	}
	return true, nil
}

// swapping is given a path, the sum of what it was, "" where it was not there, and what it is
// like then. The path may be a link, which stays one.
const swapping = `set -e
path=$(readlink -f -- "$1")
staged=$(dirname -- "$path")/.$(basename -- "$path").tallystick-next
like=$3
if [ -n "$2" ]; then
	[ -e "$path" ] || exit 75
	sum=$(sha256sum <"$path")
	[ "${sum%% *}" = "$2" ] || exit 75
	like=$path
elif [ -e "$path" ]; then
	exit 75
fi
trap 'rm -f -- "$staged"' EXIT
rm -f -- "$staged"
if [ -n "$like" ]; then cp -a -- "$(readlink -f -- "$like")" "$staged"; else umask 077; fi
cat >"$staged"
if [ -n "$2" ]; then
	was=$(stat -c %Y -- "$path")
	is=$(stat -c %Y -- "$staged")
	[ "$is" -gt "$was" ] || touch -d "@$((was + 1))" -- "$staged"
fi
sync "$staged"
mv -f -- "$staged" "$path"
sync "$(dirname -- "$path")"
`

// Locked runs a script of sh on a machine while nobody else edits in the directory of a path, by
// this package. The script has the path as $1, and the arguments as $2 and on; it is ours, and
// holds nothing of others. A lock that is not to be had within a minute is ErrUnavailable.
func Locked(ctx context.Context, h driver.Host, path, script string, stdin []byte, arguments ...string) (driver.Output, error) {
	seconds := strconv.Itoa(int(lockWait.Seconds()))
	args := []string{"flock", "-w", seconds, "-E", strconv.Itoa(exitLocked), "--", filepath.Dir(path), "sh", "-c", script, "sh", path}
	output, err := h.Run(ctx, driver.Command{Args: append(args, arguments...), Stdin: stdin, Timeout: 2 * lockWait})
	if err == nil && output.Exit == exitLocked {
		err = fmt.Errorf("%w: others write into %s for longer than %s", tallystick.ErrUnavailable, filepath.Dir(path), lockWait)
	}
	return output, err
}
