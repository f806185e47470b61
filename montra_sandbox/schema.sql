-- Amounts and other exact numbers are decimal text. Datetimes are ISO 8601 UTC text of one width, so that they sort.
-- Every table that a merchant can reach has `merchant_id`: another merchant's rows do not exist for it.

CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS merchants (id TEXT PRIMARY KEY, key_hash TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS customers (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL, status TEXT NOT NULL,
  phone TEXT, address TEXT, invoicing_emails TEXT, metadata TEXT, created_at TEXT NOT NULL,
  UNIQUE (merchant_id, email));

CREATE TABLE IF NOT EXISTS pricing_models (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, name TEXT NOT NULL, is_default INTEGER NOT NULL, created_at TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS one_default ON pricing_models (merchant_id) WHERE is_default;

CREATE TABLE IF NOT EXISTS products (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, pricing_model_id TEXT NOT NULL REFERENCES pricing_models,
  name TEXT NOT NULL, price_type TEXT NOT NULL, amount TEXT, status TEXT NOT NULL, pricing_structure TEXT NOT NULL,
  meter_slug TEXT, currency TEXT NOT NULL, tiers TEXT, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS products_of_model ON products (pricing_model_id);

CREATE TABLE IF NOT EXISTS features (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, pricing_model_id TEXT NOT NULL REFERENCES pricing_models,
  name TEXT NOT NULL, slug TEXT NOT NULL, description TEXT, type TEXT NOT NULL, status TEXT NOT NULL,
  created_at TEXT NOT NULL, UNIQUE (pricing_model_id, slug));

CREATE TABLE IF NOT EXISTS meters (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, pricing_model_id TEXT NOT NULL REFERENCES pricing_models,
  name TEXT NOT NULL, slug TEXT NOT NULL, aggregation TEXT NOT NULL, currency TEXT NOT NULL, amount TEXT,
  events_per_unit INTEGER NOT NULL, created_at TEXT NOT NULL, UNIQUE (merchant_id, pricing_model_id, slug));
CREATE INDEX IF NOT EXISTS meters_by_slug ON meters (merchant_id, slug);

CREATE TABLE IF NOT EXISTS plan_limits (
  pricing_model_id TEXT NOT NULL REFERENCES pricing_models, meter_slug TEXT NOT NULL, max_amount TEXT,
  period TEXT NOT NULL, aggregation TEXT, PRIMARY KEY (pricing_model_id, meter_slug));

CREATE TABLE IF NOT EXISTS usage_events (
  id INTEGER PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers, meter_slug TEXT NOT NULL,
  amount TEXT NOT NULL, unique_value TEXT NOT NULL, metadata TEXT, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS usage_by_customer ON usage_events (customer_id, meter_slug, created_at);

-- Running totals of one billing period, so that a check does not read every event. They can be computed from usage_events.
CREATE TABLE IF NOT EXISTS usage_totals (
  customer_id TEXT NOT NULL, meter_slug TEXT NOT NULL, period_start TEXT NOT NULL,
  total TEXT NOT NULL, largest TEXT NOT NULL, events INTEGER NOT NULL, distinct_values INTEGER NOT NULL,
  PRIMARY KEY (customer_id, meter_slug, period_start)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage_values (
  customer_id TEXT NOT NULL, meter_slug TEXT NOT NULL, period_start TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (customer_id, meter_slug, period_start, value)) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS subscriptions (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, customer_id TEXT NOT NULL REFERENCES customers,
  pricing_model_id TEXT NOT NULL REFERENCES pricing_models, items TEXT, status TEXT NOT NULL, anchor TEXT NOT NULL,
  current_period_start TEXT NOT NULL, current_period_end TEXT NOT NULL, cancel_at_period_end INTEGER NOT NULL,
  paused_at TEXT, pause_behavior TEXT, resume_at TEXT, discount_id TEXT, discount_until TEXT, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS subscriptions_of_customer ON subscriptions (customer_id, created_at);
CREATE INDEX IF NOT EXISTS subscriptions_by_end ON subscriptions (current_period_end)
  WHERE status IN ('active', 'trialing', 'past_due', 'paused');
CREATE INDEX IF NOT EXISTS subscriptions_by_resume ON subscriptions (resume_at)
  WHERE status = 'paused' AND resume_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS scheduled_changes (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, subscription_id TEXT NOT NULL REFERENCES subscriptions,
  new_pricing_model_id TEXT NOT NULL, scheduled_for TEXT NOT NULL, status TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS changes_by_moment ON scheduled_changes (scheduled_for) WHERE status = 'pending';
CREATE INDEX IF NOT EXISTS changes_of_subscription ON scheduled_changes (subscription_id);

CREATE TABLE IF NOT EXISTS checkout_links (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, link_name TEXT NOT NULL, payment_name TEXT NOT NULL, amount TEXT,
  description TEXT, line_items TEXT, image_ids TEXT, image_url TEXT, status TEXT NOT NULL, created_at TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS checkout_sessions (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, link_id TEXT NOT NULL REFERENCES checkout_links, status TEXT NOT NULL,
  transaction_id TEXT, created_at TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS transactions (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, link_id TEXT, customer_id TEXT, amount TEXT NOT NULL,
  currency TEXT NOT NULL, status TEXT NOT NULL, failure TEXT, description TEXT, product_ids TEXT NOT NULL,
  discount_id TEXT, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS transactions_by_moment ON transactions (merchant_id, created_at);

CREATE TABLE IF NOT EXISTS refunds (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, transaction_id TEXT NOT NULL REFERENCES transactions,
  amount TEXT NOT NULL, status TEXT NOT NULL, reason TEXT, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS refunds_of_transaction ON refunds (transaction_id);

CREATE TABLE IF NOT EXISTS discounts (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, name TEXT NOT NULL, code TEXT NOT NULL, status TEXT NOT NULL,
  percent_off TEXT, amount_off TEXT, currency TEXT NOT NULL, duration TEXT NOT NULL, duration_in_months INTEGER,
  max_redemptions INTEGER, times_redeemed INTEGER NOT NULL, valid_until TEXT, created_at TEXT NOT NULL,
  UNIQUE (merchant_id, code));

CREATE TABLE IF NOT EXISTS invoices (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, customer_id TEXT, subscription_id TEXT, title TEXT NOT NULL,
  amount_due TEXT NOT NULL, currency TEXT NOT NULL, status TEXT NOT NULL, description TEXT, due_date TEXT,
  invoice_number TEXT NOT NULL, created_at TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS mrr_movements (
  id INTEGER PRIMARY KEY, merchant_id TEXT NOT NULL, pricing_model_id TEXT NOT NULL, kind TEXT NOT NULL,
  amount TEXT NOT NULL, created_at TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS files (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, size INTEGER NOT NULL,
  content BLOB NOT NULL, created_at TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS webhook_endpoints (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, url TEXT NOT NULL, description TEXT, events TEXT NOT NULL,
  enabled INTEGER NOT NULL, secret TEXT NOT NULL, created_at TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS audit_logs (
  id TEXT PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE, merchant_id TEXT NOT NULL, event_type TEXT NOT NULL,
  resource_type TEXT NOT NULL, resource_id TEXT NOT NULL, payload TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS audit_of_merchant ON audit_logs (merchant_id, sequence);

CREATE TABLE IF NOT EXISTS events (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL, created_at TEXT NOT NULL,
  service TEXT NOT NULL DEFAULT 'montra');

CREATE TABLE IF NOT EXISTS deliveries (
  id TEXT PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE, merchant_id TEXT NOT NULL,
  event_id TEXT NOT NULL REFERENCES events, endpoint_id TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL,
  next_attempt_at TEXT, last_status INTEGER, last_error TEXT, created_at TEXT NOT NULL,
  duration_ms REAL, response_body TEXT, attempted_at TEXT);
CREATE INDEX IF NOT EXISTS deliveries_of_event ON deliveries (event_id);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (next_attempt_at) WHERE status = 'pending';

CREATE TABLE IF NOT EXISTS idempotency_records (
  scope TEXT NOT NULL, key TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, fingerprint TEXT NOT NULL,
  status INTEGER NOT NULL, body BLOB NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (scope, key)) WITHOUT ROWID;

-- The paywall service. A paywall's `config` is what its owner sets up in the dashboard: prices, offers, acquirer,
-- tokenization, gateway providers. Balances are whole numbers.

CREATE TABLE IF NOT EXISTS paywalls (
  id TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, config TEXT NOT NULL, version INTEGER NOT NULL,
  webhook_url TEXT, webhook_secret TEXT, created_at TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS paywall_users (
  id TEXT PRIMARY KEY, paywall_id TEXT NOT NULL REFERENCES paywalls, email TEXT, external_id TEXT, name TEXT,
  is_anonymous INTEGER NOT NULL DEFAULT 0, password_hash TEXT, confirmed INTEGER NOT NULL DEFAULT 0,
  trial_started_at TEXT, trial_expires_at TEXT, had_trial INTEGER NOT NULL DEFAULT 0, topped_up_on TEXT,
  created_at TEXT NOT NULL, UNIQUE (paywall_id, email), UNIQUE (paywall_id, external_id));

CREATE TABLE IF NOT EXISTS paywall_checkouts (
  id TEXT PRIMARY KEY, paywall_id TEXT NOT NULL REFERENCES paywalls, user_id TEXT NOT NULL REFERENCES paywall_users,
  price TEXT NOT NULL, discount TEXT, trial_days INTEGER, success_url TEXT, error_url TEXT, shop_url TEXT,
  product_name TEXT, visitor_id TEXT, is_guest INTEGER NOT NULL, ends_others INTEGER NOT NULL, key TEXT,
  status TEXT NOT NULL, purchase_id TEXT, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS checkouts_by_key ON paywall_checkouts (user_id, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS checkouts_by_visitor ON paywall_checkouts (paywall_id, visitor_id) WHERE is_guest;

CREATE TABLE IF NOT EXISTS paywall_purchases (
  id TEXT PRIMARY KEY, paywall_id TEXT NOT NULL REFERENCES paywalls, user_id TEXT NOT NULL REFERENCES paywall_users,
  price TEXT NOT NULL, discount TEXT, status TEXT NOT NULL, unit_amount INTEGER NOT NULL, currency TEXT NOT NULL,
  interval TEXT, interval_count INTEGER NOT NULL, anchor TEXT NOT NULL, renewals INTEGER NOT NULL,
  current_period_start TEXT, current_period_end TEXT, cancel_at TEXT, cancel_at_period_end INTEGER NOT NULL,
  canceled_at TEXT, ended_at TEXT, reason TEXT, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS purchases_of_user ON paywall_purchases (user_id, created_at);
CREATE INDEX IF NOT EXISTS purchases_by_end ON paywall_purchases (current_period_end)
  WHERE status IN ('active', 'trialing');

CREATE TABLE IF NOT EXISTS paywall_balances (
  user_id TEXT NOT NULL REFERENCES paywall_users, type TEXT NOT NULL, count INTEGER NOT NULL CHECK (count >= 0),
  PRIMARY KEY (user_id, type)) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS paywall_tickets (
  id INTEGER PRIMARY KEY, paywall_id TEXT NOT NULL REFERENCES paywalls, user_id TEXT REFERENCES paywall_users,
  email TEXT NOT NULL, subject TEXT NOT NULL,
  content TEXT NOT NULL, status TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS paywall_ticket_files (
  id INTEGER PRIMARY KEY, ticket_id INTEGER NOT NULL REFERENCES paywall_tickets, name TEXT NOT NULL, type TEXT NOT NULL,
  size INTEGER NOT NULL, content BLOB NOT NULL);

-- Events of the public client's user interface; the oldest are deleted.
CREATE TABLE IF NOT EXISTS paywall_tracked (
  id INTEGER PRIMARY KEY, paywall_id TEXT NOT NULL REFERENCES paywalls, user_id TEXT, visitor_id TEXT,
  event TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS tracked_at ON paywall_tracked (paywall_id, id);

CREATE TABLE IF NOT EXISTS paywall_sessions (
  id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES paywall_users, access_hash TEXT NOT NULL UNIQUE,
  refresh_hash TEXT NOT NULL UNIQUE, expires_at TEXT NOT NULL, created_at TEXT NOT NULL);

-- Codes, states and tokens are digests. Codes in plain text are in memory only, for `sandbox.mails()`.
-- A mail of a sign-up holds what its confirmation applies: the `password_hash`, the `visitor_id`, and the `user_id` of the
-- anonymous user who gets the address.
CREATE TABLE IF NOT EXISTS paywall_mails (
  id TEXT PRIMARY KEY, paywall_id TEXT NOT NULL REFERENCES paywalls, email TEXT NOT NULL, type TEXT NOT NULL,
  token_hash TEXT NOT NULL, password_hash TEXT, user_id TEXT REFERENCES paywall_users, visitor_id TEXT,
  expires_at TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, used INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS mails_to ON paywall_mails (paywall_id, email, type);

-- Failed attempts with codes and passwords per address; `since` is when counting began.
CREATE TABLE IF NOT EXISTS paywall_guesses (
  paywall_id TEXT NOT NULL REFERENCES paywalls, email TEXT NOT NULL, kind TEXT NOT NULL, wrong INTEGER NOT NULL,
  since TEXT NOT NULL, PRIMARY KEY (paywall_id, email, kind)) WITHOUT ROWID;

-- `user_id`: the anonymous user who began the sign-in. `origin`: the web page that began it and gets the outcome.
CREATE TABLE IF NOT EXISTS paywall_oauth (
  state_hash TEXT PRIMARY KEY, paywall_id TEXT NOT NULL REFERENCES paywalls, provider TEXT NOT NULL,
  scopes TEXT NOT NULL, challenge TEXT NOT NULL, user_id TEXT REFERENCES paywall_users, origin TEXT,
  code_hash TEXT UNIQUE, email TEXT, expires_at TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS paywall_portals (
  token_hash TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES paywall_users, return_url TEXT, expires_at TEXT NOT NULL);
