// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

// An Agent is a program on another machine that works at doors there.
type Agent struct {
	Name      string
	Created   time.Time
	CreatedBy string
	Expires   time.Time // of the token that it was or is to enrol with
	Key       string    // SHA-256 of the key of its certificate, in hexadecimal; "" before it has one
	KeyBefore string    // the one before, until Key was first used
	NotAfter  time.Time // of its certificate
	Enrolled  time.Time // zero: not yet
	Seen      time.Time
	Address   string // that it last came from
	Version   string
	Wanted    time.Time // when somebody last asked for a look at its doors
	Removed   time.Time
}

const agentColumns = `name, created, created_by, expires, key, key_before, not_after, enrolled, seen, address, version, wanted, removed`

func scanAgent(row scanner) (Agent, error) {
	var a Agent
	var created, expires, notAfter, enrolled, seen, wanted, removed int64
	err := row.Scan(&a.Name, &created, &a.CreatedBy, &expires, &a.Key, &a.KeyBefore, &notAfter, &enrolled, &seen, &a.Address, &a.Version, &wanted, &removed)
	a.Created, a.Expires, a.NotAfter, a.Enrolled = timeOf(created), timeOf(expires), timeOf(notAfter), timeOf(enrolled)
	a.Seen, a.Wanted, a.Removed = timeOf(seen), timeOf(wanted), timeOf(removed)
	return a, err
}

// AddAgent lets an agent enrol with a token, by its hash, until it expires. One that is
// known goes on with the certificate that it has, unless it was removed.
func (db *DB) AddAgent(ctx context.Context, a Agent, token string) error {
	err := db.tx(ctx, func(tx *writing) error {
		const insert = `INSERT INTO agents (name, created, created_by, token, expires) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (name) DO UPDATE SET token = excluded.token, expires = excluded.expires, token_key = '',
				key = CASE WHEN agents.removed > 0 THEN '' ELSE agents.key END,
				key_before = CASE WHEN agents.removed > 0 THEN '' ELSE agents.key_before END, removed = 0`
		_, err := tx.ExecContext(ctx, insert, a.Name, micros(a.Created), a.CreatedBy, token, micros(a.Expires))
		return err
	})
	return db.wrap("couldn't add the agent "+a.Name, err)
}

// EnrolAgent gives a key to the agent that a token was made for, and returns its name. A
// token is good for one key, however often that is sent; otherwise it is ErrNotFound.
func (db *DB) EnrolAgent(ctx context.Context, token, key string, now, notAfter time.Time) (name string, err error) {
	err = db.tx(ctx, func(tx *writing) error {
		const query = `SELECT name FROM agents WHERE token = $1 AND token <> '' AND expires > $2 AND removed = 0 AND (token_key = '' OR token_key = $3)`
		if err := tx.QueryRowContext(ctx, query, token, micros(now), key).Scan(&name); err != nil {
			return err
		}
		// Of two with different keys the second changes nothing: it waited for the first.
		const update = `UPDATE agents SET token_key = $1, key = $1, key_before = '', not_after = $2, enrolled = $3
			WHERE name = $4 AND (token_key = '' OR token_key = $1)`
		result, err := tx.ExecContext(ctx, update, key, micros(notAfter), micros(now), name)
		return oneRow(result, err)
	})
	return name, db.wrap("couldn't enrol an agent", err)
}

// oneRow makes ErrNotFound of a change that changed nothing.
func oneRow(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return tallystick.ErrNotFound
}

// RenewAgent gives an agent its next key, which it asked for with one that it has. Until
// the next one was used, both are good.
func (db *DB) RenewAgent(ctx context.Context, name, with, next string, notAfter time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		const update = `UPDATE agents SET key_before = $1, key = $2, not_after = $3
			WHERE name = $4 AND removed = 0 AND (key = $1 OR key_before = $1)`
		result, err := tx.ExecContext(ctx, update, with, next, micros(notAfter), name)
		return oneRow(result, err)
	})
	return db.wrap("couldn't renew the certificate of the agent "+name, err)
}

// SeeAgent notes that an agent came, with which key and from where.
func (db *DB) SeeAgent(ctx context.Context, name, key, address, version string, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		const update = `UPDATE agents SET seen = $1, address = $2, version = CASE WHEN $3 = '' THEN version ELSE $3 END,
			key_before = CASE WHEN key = $4 THEN '' ELSE key_before END WHERE name = $5`
		_, err := tx.ExecContext(ctx, update, micros(at), address, version, key, name)
		return err
	})
	return db.wrap("couldn't note that the agent "+name+" came", err)
}

// RemoveAgent shuts an agent out. Its doors go with it; its name stays on record.
func (db *DB) RemoveAgent(ctx context.Context, name string, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		const update = `UPDATE agents SET removed = $1, token = '', key = '', key_before = '' WHERE name = $2 AND removed = 0`
		result, err := tx.ExecContext(ctx, update, micros(at), name)
		if err := oneRow(result, err); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM agent_doors WHERE agent = $1`, name)
		return err
	})
	return db.wrap("couldn't remove the agent "+name, err)
}

// Agent returns an agent, also one that was removed.
func (db *DB) Agent(ctx context.Context, name string) (Agent, error) {
	a, err := scanAgent(db.one(ctx, `SELECT `+agentColumns+` FROM agents WHERE name = $1`, name))
	return a, db.wrap("couldn't find the agent "+name, err)
}

// Agents returns those that were not removed, by name.
func (db *DB) Agents(ctx context.Context) ([]Agent, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+agentColumns+` FROM agents WHERE removed = 0 ORDER BY name`)
	return collect(db, "couldn't list the agents", rows, err, func(rows *sql.Rows) (Agent, error) { return scanAgent(rows) })
}

// WantLook asks an agent to look at its doors.
func (db *DB) WantLook(ctx context.Context, name string, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		result, err := tx.ExecContext(ctx, `UPDATE agents SET wanted = $1 WHERE name = $2 AND removed = 0`, micros(at), name)
		return oneRow(result, err)
	})
	return db.wrap("couldn't ask the agent "+name+" for a look", err)
}

// An AgentDoor is a door of an agent, with how it stood.
type AgentDoor struct {
	Agent, Name string
	About       string // JSON
	View        string // JSON; "" before the first look, and in lists
	Looked      time.Time
	Error       string // of that look
}

// SetAgentDoors makes these the doors of an agent. What is known of how one stood stays.
func (db *DB) SetAgentDoors(ctx context.Context, agent string, doors []AgentDoor) error {
	err := db.tx(ctx, func(tx *writing) error {
		gone, err := tx.doorNames(ctx, agent)
		if err != nil {
			return err
		}
		for _, d := range doors {
			delete(gone, d.Name)
			const upsert = `INSERT INTO agent_doors (agent, name, about) VALUES ($1, $2, $3) ON CONFLICT (agent, name) DO UPDATE SET about = excluded.about`
			if _, err := tx.ExecContext(ctx, upsert, agent, d.Name, d.About); err != nil {
				return err
			}
		}
		for name := range gone {
			if _, err := tx.ExecContext(ctx, `DELETE FROM agent_doors WHERE agent = $1 AND name = $2`, agent, name); err != nil {
				return err
			}
		}
		return nil
	})
	return db.wrap("couldn't keep the doors of the agent "+agent, err)
}

func (w *writing) doorNames(ctx context.Context, agent string) (map[string]bool, error) {
	names := map[string]bool{}
	rows, err := w.QueryContext(ctx, `SELECT name FROM agent_doors WHERE agent = $1`, agent)
	err = each(rows, err, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names[name] = true
		return err
	})
	return names, err
}

// SetAgentView keeps how a door stood, or why nobody knows; then the view from before
// stays. A door that the agent has not named is ErrNotFound; the views of one agent have
// at most so many bytes together, and one that does not fit is ErrInvalid.
func (db *DB) SetAgentView(ctx context.Context, d AgentDoor, most int64) error {
	err := db.tx(ctx, func(tx *writing) error {
		var others int64
		const sum = `SELECT COALESCE(SUM(size), 0) FROM agent_doors WHERE agent = $1 AND name <> $2`
		if err := tx.QueryRowContext(ctx, sum, d.Agent, d.Name).Scan(&others); err != nil {
			return err
		}
		if d.View != "" && others+int64(len(d.View)) > most {
			return fmt.Errorf("%w: what the agent %s says of its doors has more than %d bytes", tallystick.ErrInvalid, d.Agent, most)
		}
		const update = `UPDATE agent_doors SET view = CASE WHEN $1 = '' THEN view ELSE $1 END, size = CASE WHEN $1 = '' THEN size ELSE $6 END, looked = $2, error = $3
			WHERE agent = $4 AND name = $5`
		result, err := tx.ExecContext(ctx, update, d.View, micros(d.Looked), d.Error, d.Agent, d.Name, len(d.View))
		return oneRow(result, err)
	})
	return db.wrap(fmt.Sprintf("couldn't keep how the door %s/%s stands", d.Agent, d.Name), err)
}

// AgentDoors returns the doors of all agents that were not removed, without their views.
func (db *DB) AgentDoors(ctx context.Context) ([]AgentDoor, error) {
	const query = `SELECT d.agent, d.name, d.about, '', d.looked, d.error FROM agent_doors d JOIN agents a ON a.name = d.agent
		WHERE a.removed = 0 ORDER BY d.agent, d.name`
	rows, err := db.read.QueryContext(ctx, query)
	return collect(db, "couldn't list the doors of agents", rows, err, func(rows *sql.Rows) (AgentDoor, error) { return scanAgentDoor(rows) })
}

// AgentDoor returns a door of an agent with its view.
func (db *DB) AgentDoor(ctx context.Context, agent, name string) (AgentDoor, error) {
	const query = `SELECT agent, name, about, view, looked, error FROM agent_doors WHERE agent = $1 AND name = $2`
	d, err := scanAgentDoor(db.read.QueryRowContext(ctx, query, agent, name))
	return d, db.wrap(fmt.Sprintf("couldn't find the door %s/%s", agent, name), err)
}

func scanAgentDoor(row scanner) (AgentDoor, error) {
	var d AgentDoor
	var looked int64
	err := row.Scan(&d.Agent, &d.Name, &d.About, &d.View, &looked, &d.Error)
	d.Looked = timeOf(looked)
	return d, err
}
