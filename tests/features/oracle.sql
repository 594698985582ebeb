-- Every feature, recomputed from the raw event tables by what its definition means. Shares no code with the engine.
-- `oracle.py` provides one table per kind of event, and the cut-offs of FeatureConfig as macros.
-- Money is in whole cents and units in whole thousandths, rounded half up, so that sums are exact.

CREATE MACRO hundredths(x) AS floor(x * 100 + 0.5)::BIGINT;
CREATE MACRO thousandths(x) AS floor(x * 1000 + 0.5)::BIGINT;
CREATE MACRO minutes(n) AS n::BIGINT * 60000000;
CREATE MACRO days(n) AS n::BIGINT * 86400000000;

-- Whether the moment p lies in the window of n grains that ends with the grain of e.
CREATE MACRO within(p, e, grain, n) AS p // grain > e // grain - n;
CREATE MACRO in_1h(p, e) AS within(p, e, minutes(5), 12);
CREATE MACRO in_24h(p, e) AS within(p, e, minutes(60), 24);
CREATE MACRO in_7d(p, e) AS within(p, e, days(1), 7);
CREATE MACRO in_14d(p, e) AS within(p, e, days(1), 14);
CREATE MACRO in_30d(p, e) AS within(p, e, days(1), 30);
CREATE MACRO in_90d(p, e) AS within(p, e, days(1), 90);

CREATE MACRO larger(a, b) AS CASE WHEN a IS NULL OR b IS NULL THEN NULL WHEN a > b THEN a ELSE b END;
CREATE MACRO at_most(a, b) AS CASE WHEN a > b THEN b ELSE a END;
CREATE MACRO clipped(x) AS CASE WHEN x IS NULL THEN NULL WHEN x < 0 THEN 0 WHEN x > 1 THEN 1 ELSE x END;
CREATE MACRO mean_of(total, n) AS total::DOUBLE / 100 / nullif(n, 0);
-- Sample standard deviation in currency units, from exact integers.
CREATE MACRO std_of(total, squares, n) AS
    CASE WHEN n > 1 THEN sqrt((n * squares - total * total)::DOUBLE / (n * (n - 1))) / 100 END;
-- Standard deviations above the mean; a spread below one cent counts as one cent.
CREATE MACRO sigmas(x, mean, std) AS (x - mean) / larger(std, 0.01);

CREATE TABLE log AS
WITH events AS (
    SELECT 0 AS rank, 'verdict' AS kind, event_id, epoch_us(event_time) AS time, utc_offset_minutes AS zone,
        customer_id, card_id, terminal_id, site_id, NULL AS site_group, NULL AS product_id, NULL AS supplier_id,
        amount, NULL AS quantity, NULL AS on_hand, NULL AS reorder_level, is_fraud
    FROM verdict
    UNION ALL BY NAME
    SELECT 1 AS rank, 'stock_level' AS kind, event_id, epoch_us(event_time) AS time, utc_offset_minutes AS zone,
        site_id, product_id, on_hand, reorder_level
    FROM stock_level
    UNION ALL BY NAME
    SELECT 2 AS rank, 'restock' AS kind, event_id, epoch_us(event_time) AS time, utc_offset_minutes AS zone,
        site_id, product_id, supplier_id
    FROM restock
    UNION ALL BY NAME
    SELECT 3 AS rank, 'stock_movement' AS kind, event_id, epoch_us(event_time) AS time, utc_offset_minutes AS zone,
        site_id, product_id, quantity
    FROM stock_movement
    UNION ALL BY NAME
    SELECT 4 AS rank, 'transaction' AS kind, event_id, epoch_us(event_time) AS time, utc_offset_minutes AS zone,
        customer_id, card_id, terminal_id, site_id, site_group, product_id, amount
    FROM transaction
)
SELECT row_number() OVER (ORDER BY time, rank, event_id) AS pos,
    events.* EXCLUDE (rank, customer_id, card_id, terminal_id, site_id, site_group, product_id, supplier_id),
    customer_id::VARCHAR AS customer_id, card_id::VARCHAR AS card_id, terminal_id::VARCHAR AS terminal_id,
    site_id::VARCHAR AS site_id, site_group::VARCHAR AS site_group, product_id::VARCHAR AS product_id,
    supplier_id::VARCHAR AS supplier_id, hundredths(amount) AS cents
FROM events;

CREATE TABLE sale AS
SELECT *, amount > 0 AND amount < low_amount() AS is_low,
    time::HUGEINT * 1000000000 + cents AS recency, -- of several at one time the largest is the latest
    (time + minutes(zone)) // minutes(60) % 24 AS hour,
    make_timestamp(time + minutes(zone)) AS local
FROM log WHERE kind = 'transaction';

-- A row for each entity that takes part in a sale.
CREATE TABLE party AS
SELECT 'customer' AS entity, customer_id AS key, * FROM sale WHERE key IS NOT NULL
UNION ALL SELECT 'card' AS entity, card_id AS key, * FROM sale WHERE key IS NOT NULL
UNION ALL SELECT 'terminal' AS entity, terminal_id AS key, * FROM sale WHERE key IS NOT NULL
UNION ALL SELECT 'site' AS entity, site_id AS key, * FROM sale WHERE key IS NOT NULL
UNION ALL SELECT 'site_group' AS entity, site_group AS key, * FROM sale WHERE key IS NOT NULL;

-- What the entity's own sales tell, as of each sale: e is the sale that asks, p runs over the entity's past.
CREATE TABLE past AS
SELECT e.entity, e.pos,
    count(*) FILTER (in_1h(p.time, e.time)) AS count_1h,
    count(*) FILTER (in_24h(p.time, e.time)) AS count_24h,
    count(*) FILTER (in_7d(p.time, e.time)) AS count_7d,
    count(*) FILTER (in_30d(p.time, e.time)) AS count_30d,
    sum(p.cents) FILTER (in_24h(p.time, e.time)) AS cents_24h,
    sum(p.cents) FILTER (in_7d(p.time, e.time)) AS cents_7d,
    sum(p.cents) FILTER (in_30d(p.time, e.time)) AS cents_30d,
    sum(p.cents * p.cents) FILTER (in_30d(p.time, e.time)) AS squares_30d,
    max(p.cents) FILTER (in_30d(p.time, e.time) AND p.cents >= 0) AS largest_30d,
    count(*) FILTER (in_30d(p.time, e.time) AND p.hour < 7) AS nights_30d,
    count(*) FILTER (in_30d(p.time, e.time) AND p.amount < 0) AS refunds_30d,
    count(*) FILTER (p.is_low AND in_1h(p.time, e.time)) AS low_count_1h,
    count(*) FILTER (p.is_low AND in_24h(p.time, e.time)) AS low_count_24h,
    count(*) FILTER (p.is_low AND in_7d(p.time, e.time)) AS low_count_7d,
    sum(p.cents) FILTER (p.is_low AND in_1h(p.time, e.time)) AS low_cents_1h,
    sum(p.cents) FILTER (p.is_low AND in_24h(p.time, e.time)) AS low_cents_24h,
    sum(p.cents) FILTER (p.is_low AND in_7d(p.time, e.time)) AS low_cents_7d,
    count(*) AS count,
    sum(p.cents) AS cents,
    sum(p.cents * p.cents) AS squares,
    max(p.time) AS last_time,
    min(p.time) AS first_time,
    arg_max(p.cents, p.recency) AS last_cents
FROM party e JOIN party p ON p.entity = e.entity AND p.key = e.key AND p.pos < e.pos
GROUP BY e.entity, e.pos;

-- Days on which a site sold, known from its first sale of the day on.
CREATE TABLE site_day AS
SELECT site_id, site_group, time // days(1) AS day, min(pos) AS pos FROM sale WHERE site_id IS NOT NULL GROUP BY ALL;

CREATE TABLE days_of_site AS
SELECT e.pos, count(*) AS days_7d
FROM sale e JOIN site_day d ON d.site_id = e.site_id AND d.pos < e.pos AND d.day > e.time // days(1) - 7
GROUP BY e.pos;

CREATE TABLE days_of_group AS
SELECT e.pos, count(*) AS days_7d
FROM sale e JOIN site_day d ON d.site_group = e.site_group AND d.pos < e.pos AND d.day > e.time // days(1) - 7
GROUP BY e.pos;

CREATE TABLE verdicts_on_customer AS
SELECT e.pos, count(*) FILTER (p.is_fraud AND in_30d(p.time, e.time)) AS frauds_30d
FROM sale e JOIN log p ON p.kind = 'verdict' AND p.customer_id = e.customer_id AND p.pos < e.pos
GROUP BY e.pos;

CREATE TABLE verdicts_on_terminal AS
SELECT e.pos,
    count(*) FILTER (in_30d(p.time, e.time)) AS verdicts_30d,
    count(*) FILTER (p.is_fraud AND in_30d(p.time, e.time)) AS frauds_30d,
    max(p.time) FILTER (NOT p.is_fraud) AS legitimate_time,
    avg(p.is_fraud::INT) FILTER (in_24h(p.time, e.time)) AS risk_24h,
    avg(p.is_fraud::INT) FILTER (in_7d(p.time, e.time)) AS risk_7d,
    avg(p.is_fraud::INT) FILTER (in_30d(p.time, e.time)) AS risk_30d
FROM sale e JOIN log p ON p.kind = 'verdict' AND p.terminal_id = e.terminal_id AND p.pos < e.pos
GROUP BY e.pos;

-- What a customer is expected to spend: the mean over amounts that count with high_ratio times the plain mean at most,
-- both shrunk towards typical_amount, which counts as two sales. Nothing is expected below 1.
CREATE MACRO shrunk(total, n) AS (total / 100 + 2 * typical_amount()) / (n + 2);

CREATE TABLE held AS
SELECT e.pos, e.customer_id,
    hundredths(at_most(e.amount, high_ratio() * larger(shrunk(coalesce(c.cents, 0), coalesce(c.count, 0)), 1))) AS cents
FROM sale e LEFT JOIN past c ON c.pos = e.pos AND c.entity = 'customer'
WHERE e.customer_id IS NOT NULL;

-- Sales and verdicts against what was expected of their customer at that moment.
CREATE TABLE expectation AS
SELECT e.pos, e.time, e.kind, e.customer_id, e.is_fraud,
    any_value(e.amount) / larger(shrunk(coalesce(sum(h.cents), 0), count(h.pos)), 1) AS ratio
FROM log e LEFT JOIN held h ON h.customer_id = e.customer_id AND h.pos < e.pos
WHERE e.customer_id IS NOT NULL AND e.kind IN ('transaction', 'verdict')
GROUP BY e.pos, e.time, e.kind, e.customer_id, e.is_fraud;

CREATE TABLE risk AS
SELECT e.pos,
    e.ratio,
    count(*) FILTER (in_7d(p.time, e.time)) AS high_7d,
    count(*) FILTER (in_14d(p.time, e.time)) AS high_14d,
    max(p.time) AS high_time
FROM expectation e LEFT JOIN expectation p
    ON p.kind = 'transaction' AND p.ratio > high_ratio() AND p.customer_id = e.customer_id AND p.pos < e.pos
WHERE e.kind = 'transaction'
GROUP BY e.pos, e.ratio;

-- Frauds in a row: those after the last day that has a legitimate verdict on the terminal, as far as the month reaches.
CREATE TABLE run AS
WITH broken AS (
    SELECT e.pos, max(p.time // days(1)) AS day
    FROM sale e JOIN log p ON p.kind = 'verdict' AND p.terminal_id = e.terminal_id AND p.pos < e.pos AND NOT p.is_fraud
    GROUP BY e.pos
)
SELECT e.pos,
    count(*) AS frauds,
    e.time // days(1) - min(p.time // days(1)) AS age,
    count(*) FILTER (x.ratio < ordinary_ratio()) AS ordinary
FROM sale e
JOIN log p ON p.kind = 'verdict' AND p.terminal_id = e.terminal_id AND p.pos < e.pos AND p.is_fraud
LEFT JOIN broken b ON b.pos = e.pos
LEFT JOIN expectation x ON x.pos = p.pos
WHERE in_30d(p.time, e.time) AND p.time // days(1) > coalesce(b.day, 0)
GROUP BY e.pos, e.time;

-- The latest of what was said of the product at the site; of several at one time the largest, for suppliers the one
-- whose name has the largest digest.
CREATE MACRO recency(time, value) AS time::HUGEINT * 1000000000000000 + value;
CREATE MACRO recency_of_name(time, name) AS lpad(time::VARCHAR, 20, '0') || substr(sha256(name), 1, 13);

CREATE TABLE stock AS
SELECT e.pos,
    arg_max(thousandths(p.on_hand), recency(p.time, thousandths(p.on_hand))) AS on_hand,
    arg_max(thousandths(p.reorder_level), recency(p.time, thousandths(p.reorder_level))) AS reorder_level,
    max(p.time) FILTER (p.kind = 'restock') AS restock_time,
    sum(thousandths(abs(p.quantity))) FILTER (in_30d(p.time, e.time)) AS moved_30d,
    arg_max(p.supplier_id, recency_of_name(p.time, p.supplier_id)) AS supplier_id
FROM sale e JOIN log p ON p.site_id = e.site_id AND p.product_id = e.product_id AND p.pos < e.pos
    AND p.kind IN ('stock_level', 'stock_movement', 'restock')
GROUP BY e.pos;

CREATE TABLE deliveries AS
SELECT e.pos, count(*) FILTER (in_90d(p.time, e.time)) AS count_90d
FROM sale e JOIN stock s ON s.pos = e.pos JOIN log p
    ON p.kind = 'restock' AND p.supplier_id = s.supplier_id AND p.pos < e.pos
GROUP BY e.pos;

CREATE VIEW customer AS FROM past WHERE entity = 'customer';
CREATE VIEW card AS FROM past WHERE entity = 'card';
CREATE VIEW terminal AS FROM past WHERE entity = 'terminal';
CREATE VIEW site AS FROM past WHERE entity = 'site';
CREATE VIEW site_group AS FROM past WHERE entity = 'site_group';

CREATE TABLE habit AS
SELECT e.pos,
    sigmas(e.amount, mean_of(c.cents_30d, c.count_30d), std_of(c.cents_30d, c.squares_30d, c.count_30d)) AS customer,
    sigmas(e.amount, mean_of(s.cents_30d, s.count_30d), std_of(s.cents_30d, s.squares_30d, s.count_30d)) AS site,
    sigmas(e.amount, mean_of(t.cents_30d, t.count_30d), std_of(t.cents_30d, t.squares_30d, t.count_30d)) AS terminal,
    sigmas(e.amount, mean_of(c.cents, c.count), std_of(c.cents, c.squares, c.count)) AS lifetime,
    (e.time - c.last_time) / days(1) AS days_since_last,
    c.count / larger((e.time - c.first_time) / days(1), 7) * 7 AS expected_7d,
    (c.count_7d - expected_7d) / sqrt(larger(expected_7d, 1)) AS frequency
FROM sale e
LEFT JOIN customer c USING (pos) LEFT JOIN site s USING (pos) LEFT JOIN terminal t USING (pos);

CREATE MACRO flag(condition) AS coalesce(condition, FALSE)::INT;

CREATE TABLE oracle AS
SELECT e.event_id,
    -- calendar, and the event itself
    e.hour AS hour,
    isodow(e.local) - 1 AS weekday,
    month(e.local) AS month,
    quarter(e.local) AS quarter,
    e.amount AS amount,
    flag(isodow(e.local) >= 6) AS is_weekend,
    flag(e.hour < 7) AS is_night,
    -- sales
    coalesce(mean_of(c.cents_30d, c.count_30d), 0) AS customer_amount_mean_30d,
    coalesce(std_of(c.cents_30d, c.squares_30d, c.count_30d), 0) AS customer_amount_std_30d,
    flag(h.customer > high_value_sigma()) AS is_high_value_for_customer,
    coalesce(mean_of(s.cents_30d, s.count_30d), 0) AS site_amount_mean_30d,
    coalesce(std_of(s.cents_30d, s.squares_30d, s.count_30d), 0) AS site_amount_std_30d,
    flag(h.site > high_value_sigma()) AS is_high_value_for_site,
    coalesce(c.count_7d, 0) AS customer_count_7d,
    coalesce(c.count_30d, 0) AS customer_count_30d,
    coalesce((s.cents_7d / ds.days_7d) / nullif(g.cents_7d / dg.days_7d, 0), 1) AS site_sales_over_group_7d,
    -- inventory
    flag(k.on_hand <= k.reorder_level) AS is_stock_low,
    coalesce((e.time - k.restock_time) / days(1), 365) AS days_since_restock,
    coalesce(k.moved_30d / 1000 / 30, 0) AS stock_movement_per_day_30d,
    coalesce(d.count_90d, 0) AS supplier_restock_count_90d,
    -- customer
    flag(c.cents >= 100 * regular_spend()) + flag(c.cents >= 100 * premium_spend()) AS customer_segment,
    flag(h.days_since_last > churn_days()) AS is_churn_risk,
    flag(abs(h.lifetime) > outlier_sigma()) AS is_order_value_outlier,
    coalesce(h.lifetime, 0) AS customer_amount_sigmas,
    coalesce(h.frequency, 0) AS customer_frequency_sigmas_7d,
    -- behavior
    coalesce(h.days_since_last * 24, 720) AS customer_hours_since_last,
    coalesce((e.time - t.last_time) / minutes(60), 720) AS terminal_hours_since_last,
    coalesce(c.count_1h, 0) AS customer_count_1h,
    coalesce(t.count_1h, 0) AS terminal_count_1h,
    coalesce(a.count_24h, 0) AS card_count_24h,
    coalesce(c.count_24h / nullif(c.count_30d, 0) * 30, 0) AS customer_burst,
    coalesce(e.amount / nullif(c.last_cents, 0) * 100, 1) AS amount_over_last,
    coalesce(e.amount / nullif(c.largest_30d, 0) * 100, 1) AS amount_over_max_30d,
    coalesce(h.terminal, 0) AS terminal_amount_sigmas_30d,
    coalesce(mean_of(t.cents_7d, t.count_7d) / nullif(mean_of(t.cents_30d, t.count_30d), 0), 1)
        AS terminal_amount_shift,
    flag(e.hour < 7) * (1 - coalesce(c.nights_30d / nullif(c.count_30d, 0), 0)) AS is_night_unusual,
    coalesce(c.refunds_30d / nullif(c.count_30d, 0), 0) AS customer_refund_share_30d,
    coalesce((e.time - c.first_time) / days(1), 0) AS customer_days_known,
    coalesce((e.time - t.first_time) / days(1), 0) AS terminal_days_known,
    coalesce(vc.frauds_30d, 0) AS customer_fraud_verdicts_30d,
    -- velocity
    coalesce(c.low_count_1h, 0) AS customer_low_count_1h, coalesce(c.low_cents_1h, 0) / 100 AS customer_low_amount_1h,
    coalesce(c.low_count_24h, 0) AS customer_low_count_24h, coalesce(c.low_cents_24h, 0) / 100 AS customer_low_amount_24h,
    coalesce(c.low_count_7d, 0) AS customer_low_count_7d, coalesce(c.low_cents_7d, 0) / 100 AS customer_low_amount_7d,
    coalesce(a.low_count_1h, 0) AS card_low_count_1h, coalesce(a.low_cents_1h, 0) / 100 AS card_low_amount_1h,
    coalesce(a.low_count_24h, 0) AS card_low_count_24h, coalesce(a.low_cents_24h, 0) / 100 AS card_low_amount_24h,
    coalesce(a.low_count_7d, 0) AS card_low_count_7d, coalesce(a.low_cents_7d, 0) / 100 AS card_low_amount_7d,
    coalesce(t.low_count_1h, 0) AS terminal_low_count_1h, coalesce(t.low_cents_1h, 0) / 100 AS terminal_low_amount_1h,
    coalesce(t.low_count_24h, 0) AS terminal_low_count_24h, coalesce(t.low_cents_24h, 0) / 100 AS terminal_low_amount_24h,
    coalesce(t.low_count_7d, 0) AS terminal_low_count_7d, coalesce(t.low_cents_7d, 0) / 100 AS terminal_low_amount_7d,
    coalesce(s.low_count_1h, 0) AS site_low_count_1h, coalesce(s.low_cents_1h, 0) / 100 AS site_low_amount_1h,
    coalesce(s.low_count_24h, 0) AS site_low_count_24h, coalesce(s.low_cents_24h, 0) / 100 AS site_low_amount_24h,
    coalesce(s.low_count_7d, 0) AS site_low_count_7d, coalesce(s.low_cents_7d, 0) / 100 AS site_low_amount_7d,
    -- protocol
    coalesce(c.count_24h, 0) AS customer_count_24h,
    coalesce(mean_of(c.cents_24h, c.count_24h), 0) AS customer_amount_mean_24h,
    coalesce(mean_of(c.cents_7d, c.count_7d), 0) AS customer_amount_mean_7d,
    coalesce(t.count_24h, 0) AS terminal_count_24h,
    coalesce(t.count_7d, 0) AS terminal_count_7d,
    coalesce(t.count_30d, 0) AS terminal_count_30d,
    coalesce(vt.risk_24h, 0) AS terminal_risk_24h,
    coalesce(vt.risk_7d, 0) AS terminal_risk_7d,
    coalesce(vt.risk_30d, 0) AS terminal_risk_30d,
    -- risk
    coalesce(r.ratio, 1) AS amount_over_baseline,
    coalesce(r.high_7d, 0) AS customer_high_count_7d,
    coalesce(r.high_14d, 0) AS customer_high_count_14d,
    coalesce(at_most((e.time - r.high_time) / days(1), 60), 60) AS customer_days_since_high,
    coalesce(vt.verdicts_30d, 0) AS terminal_verdicts_30d,
    coalesce(vt.frauds_30d, 0) AS terminal_fraud_verdicts_30d,
    coalesce(at_most((e.time - vt.legitimate_time) / days(1), 60), 60) AS terminal_days_since_legitimate,
    coalesce(u.frauds, 0) AS terminal_fraud_run,
    coalesce(u.age, 0) AS terminal_fraud_run_days,
    coalesce(u.ordinary, 0) AS terminal_ordinary_fraud_run,
    -- business
    coalesce(clipped(h.customer / (2 * high_value_sigma())), -1) AS business_high_value,
    coalesce(clipped(1 - k.on_hand / (2 * nullif(k.reorder_level, 0))), -1) AS business_low_stock,
    coalesce(clipped(h.frequency / 6), -1) AS business_customer_behavior,
    coalesce(clipped(h.days_since_last / churn_days()), -1) AS business_churn,
    coalesce(clipped(abs(h.lifetime) / 6), -1) AS business_outlier,
    -- how close the flags are to turning
    h.customer AS margin_customer, h.site AS margin_site, abs(h.lifetime) AS margin_outlier
FROM sale e
LEFT JOIN habit h USING (pos)
LEFT JOIN customer c USING (pos)
LEFT JOIN card a USING (pos)
LEFT JOIN terminal t USING (pos)
LEFT JOIN site s USING (pos)
LEFT JOIN site_group g USING (pos)
LEFT JOIN days_of_site ds USING (pos)
LEFT JOIN days_of_group dg USING (pos)
LEFT JOIN verdicts_on_customer vc USING (pos)
LEFT JOIN verdicts_on_terminal vt USING (pos)
LEFT JOIN risk r USING (pos)
LEFT JOIN run u USING (pos)
LEFT JOIN stock k USING (pos)
LEFT JOIN deliveries d USING (pos)
ORDER BY pos;
