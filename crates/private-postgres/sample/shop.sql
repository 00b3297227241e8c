-- "Northpass Outfitters", a small outdoor-gear shop: sample data to ask questions about.
--
-- Deterministic (no random(), no now()): every machine and every PostgreSQL from 14 on holds the same rows.
-- About 70,000 rows in a second, 14 MB. On purpose without an index: orders.user_id and page_views.path, so that
-- EXPLAIN has something to find.

begin;

-- Who reads it: one role without any other right.

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'shop_reader') then
        create role shop_reader login nosuperuser nocreatedb nocreaterole noinherit noreplication nobypassrls;
    end if;
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to shop_reader', current_database());
    execute format('alter role shop_reader in database %I set search_path = shop', current_database());
    execute format('alter role shop_reader in database %I set default_transaction_read_only = on', current_database());
end
$$;
revoke create on schema public from public;

create schema shop;
comment on schema shop is 'Northpass Outfitters, an outdoor-gear shop (sample data)';
set local search_path = shop, public;

-- A fixed sequence that looks random: the same seed always gives the same number, 0 <= dice(seed) < 1.

create function dice(seed text) returns double precision
    language sql immutable strict
    as $$ select (('x' || substr(md5(seed), 1, 8))::bit(32)::bigint & 2147483647) / 2147483648.0 $$;

create function pick(seed text, choices text[]) returns text
    language sql immutable strict
    as $$ select choices[1 + floor(shop.dice(seed) * cardinality(choices))::int] $$;


-- The tables.

create type user_role as enum ('customer', 'staff', 'admin');
create type order_status as enum ('placed', 'paid', 'shipped', 'delivered', 'returned');

create table users (
    id      int       primary key,
    name    text      not null,
    email   text      not null unique,
    role    user_role not null,
    active  boolean   not null,
    country char(2)   not null,
    joined  date      not null,
    prefs   jsonb     not null default '{}'
);
comment on table users is 'Everybody with an account: customers and the shop''s own people';
comment on column users.active is 'false once the account was closed';

create table products (
    id          int           primary key,
    sku         text          not null unique,
    name        text          not null,
    category    text          not null,
    price       numeric(8, 2) not null check (price > 0),
    tags        text[]        not null default '{}',
    description text          not null,
    features    real[]        not null
);
comment on column products.features is 'warmth, rain, weight, winter, water, climbing, camping, running; each 0 to 1';

create table stock (
    product_id int  references products,
    warehouse  text,
    quantity   int  not null check (quantity >= 0),
    primary key (product_id, warehouse)
);

create table orders (
    id        int           primary key,
    user_id   int           not null references users,
    placed_at timestamptz   not null,
    status    order_status  not null,
    shipping  numeric(6, 2) not null
);

create table order_items (
    order_id   int           references orders,
    line       int,
    product_id int           not null references products,
    quantity   int           not null check (quantity > 0),
    unit_price numeric(8, 2) not null,
    primary key (order_id, line)
);

create table reviews (
    id         int  primary key,
    product_id int  not null references products,
    user_id    int  not null references users,
    stars      int  not null check (stars between 1 and 5),
    body       text not null,
    written    date not null
);

create table page_views (
    id           bigint      primary key,
    viewed_at    timestamptz not null,
    path         text        not null,
    user_id      int,
    milliseconds int         not null
);
comment on table page_views is 'Visits to the web shop; no index on path: compare EXPLAIN with and without one';
comment on column page_views.user_id is 'null for a visitor who did not log in';


-- 1,000 users: the first twenty work here, every ninth account or so is closed.

insert into users
select i,
       pick('first' || i, array['Ana', 'Bo', 'Chen', 'Dana', 'Emre', 'Freya', 'Goran', 'Hana', 'Ivo', 'Jun', 'Kofi', 'Lena'])
           || ' ' ||
       pick('last' || i, array['Aas', 'Berg', 'Costa', 'Duval', 'Ek', 'Fontaine', 'Greco', 'Holm', 'Ito', 'Jansen', 'Kowal', 'Lind']),
       case when i <= 20 then 'staff' else 'user' end || i || '@northpass.example',
       (case when i <= 2 then 'admin' when i <= 20 then 'staff' else 'customer' end)::user_role,
       i <= 2 or dice('active' || i) < 0.88,
       pick('country' || i, array['NO', 'FR', 'PL', 'DE', 'SE', 'IT', 'JP']),
       date '2023-01-01' + floor(800 * dice('joined' || i))::int,
       jsonb_build_object(
           'newsletter', dice('newsletter' || i) < 0.4,
           'size', pick('size' || i, array['S', 'M', 'L', 'XL']))
  from generate_series(1, 1000) as i;


-- 200 products: ten kinds, each in ten ranges and two generations; features scatter round those of the kind.

create temporary table kinds on commit drop as
select row_number() over () as kind, given.*
  from (values
      ('jacket', 'Shell Jacket',    189, '{.3, 1,.3,.5,.4,.5,.4,.3}'::real[], 'Three-layer shell with a helmet-sized hood and taped seams.'),
      ('jacket', 'Down Parka',      329, '{ 1,.3,.6, 1, 0,.2,.5, 0}',         'Goose down for cold camps and for bus stops in January.'),
      ('tent',   'Ridge Tent',      449, '{.3,.9,.7,.3,.1,.1, 1, 0}',         'Two-person tent that stands in wind and packs to a loaf.'),
      ('bag',    'Sleeping Bag',    219, '{ 1,.2,.6,.7, 0,.1, 1, 0}',         'Tapered bag with a draft collar and a two-way zip.'),
      ('rope',   'Dynamic Rope',    169, '{ 0,.2,.8,.2,.1, 1, 0, 0}',         'Sixty metres, dry treated, middle mark.'),
      ('boot',   'Hiking Boot',     179, '{.5,.7,.6,.5,.1,.4,.4,.1}',         'Full-grain leather, can be resoled.'),
      ('shoe',   'Trail Shoe',      129, '{.1,.3,.2,.1,.1,.1,.1, 1}',         'Grippy and light, for wet roots.'),
      ('paddle', 'Touring Paddle',  139, '{ 0,.6,.3, 0, 1, 0,.2, 0}',         'Carbon shaft, adjustable feather.'),
      ('stove',  'Pocket Stove',     59, '{.2,.1,.1,.4, 0,.3, 1, 0}',         'Boils half a litre in three minutes.'),
      ('lamp',   'Head Lamp',        45, '{ 0,.5,.1,.5,.1,.6,.8,.7}',         'Four hundred lumens, red mode, locks in the pack.')
  ) as given (category, base_name, base_price, features, description);

insert into products
select i,
       upper(left(category, 3)) || '-' || lpad(i::text, 4, '0'),
       (array['Alder', 'Birch', 'Cairn', 'Drift', 'Ember', 'Fjord', 'Granite', 'Heather', 'Islay', 'Juniper'])[1 + (i - 1) / 10 % 10]
           || ' ' || base_name || case when i > 100 then ' II' else '' end,
       category,
       round((base_price * (0.8 + 0.5 * dice('price' || i)))::numeric, 2),
       array_remove(array[
           case when features[2] > 0.6 then 'waterproof' end,
           case when features[1] > 0.8 then 'warm' end,
           case when features[3] < 0.25 then 'light' end], null),
       description,
       (select array_agg(least(1, greatest(0, value + 0.2 * (dice('feature' || i || '-' || place) - 0.5)))::real order by place)
          from unnest(features) with ordinality as feature (value, place))
  from generate_series(1, 200) as i
  join kinds on kind = 1 + (i - 1) % 10;

insert into stock
select id, warehouse, floor(60 * dice('stock' || id || warehouse))::int
  from products, unnest(array['Oslo', 'Lyon', 'Gdansk']) as warehouse;


-- 5,000 orders of one to three lines over a year; a few users buy much, the newest orders are still on their way.

insert into orders
select i,
       1 + floor(1000 * dice('buyer' || i) ^ 2)::int,
       timestamptz '2025-01-01 00:00+00' + i * interval '105 minutes' + dice('time' || i) * interval '90 minutes',
       (case
            when i > 4900 then 'placed'
            when i > 4800 then 'paid'
            when i > 4700 then 'shipped'
            when dice('returned' || i) < 0.05 then 'returned'
            else 'delivered'
        end)::order_status,
       round((4 + 12 * dice('shipping' || i))::numeric, 2)
  from generate_series(1, 5000) as i;

insert into order_items
select orders.id, line, products.id, 1 + floor(3 * dice('quantity' || orders.id || '-' || line))::int, products.price
  from orders
 cross join generate_series(1, 3) as line
  join products on products.id = 1 + floor(200 * dice('item' || orders.id || '-' || line))::int
 where line <= 1 + orders.id % 3;

create index on order_items (product_id);


-- 1,200 reviews and 50,000 page views.

insert into reviews
select i,
       1 + floor(200 * dice('reviewed' || i))::int,
       1 + floor(1000 * dice('reviewer' || i))::int,
       1 + floor(5 * sqrt(dice('stars' || i)))::int,
       pick('body' || i, array[
           'Kept me dry for a week on the coast.', 'Zip failed on the second trip.', 'Lighter than it looks.',
           'Runs small, order one up.', 'Still good after two winters.', 'Would buy again.']),
       date '2025-02-01' + i % 300
  from generate_series(1, 1200) as i;

create index on reviews (product_id);

insert into page_views
select i,
       timestamptz '2025-06-01 00:00+00' + i * interval '4 minutes',
       case
           when i % 7 = 0 then '/cart'
           when i % 5 = 0 then '/search'
           else '/product/' || 1 + floor(200 * dice('viewed' || i))::int
       end,
       case when dice('visitor' || i) < 0.8 then 1 + floor(1000 * dice('viewer' || i))::int end,
       floor(20 + 400 * dice('load' || i) ^ 4)::int
  from generate_series(1, 50000) as i;


-- What a shop asks every day.

create view order_totals as
select orders.id, orders.user_id, orders.placed_at, orders.status,
       sum(order_items.quantity * order_items.unit_price) + orders.shipping as total
  from orders
  join order_items on order_items.order_id = orders.id
 group by orders.id;

create materialized view sales_by_month as
select (date_trunc('month', placed_at at time zone 'UTC'))::date as month, count(*) as orders, sum(total) as revenue
  from order_totals
 where status <> 'returned'
 group by 1
 order by 1;
comment on materialized view sales_by_month is 'Revenue by month of order (UTC), without returned orders';

-- Similarity in plain SQL: the cosine between two products' features.

create function similar_products(product int, how_many int default 5)
    returns table (id int, name text, similarity double precision)
    language sql stable
    as $$
        select other.id, other.name,
               (select sum(x * y) / (sqrt(sum(x * x)) * sqrt(sum(y * y))) from unnest(this.features, other.features) as f (x, y)) as similarity
          from shop.products as this
          join shop.products as other on other.id <> this.id
         where this.id = product
         order by similarity desc, other.id
         limit how_many
    $$;

-- Where pgvector is installed, the same as a vector with an index.

do $$
begin
    if exists (select from pg_catalog.pg_available_extensions where name = 'vector') then
        create extension if not exists vector schema public;
        alter table shop.products add column embedding public.vector(8);
        update shop.products set embedding = features::public.vector(8);
        create index on shop.products using hnsw (embedding public.vector_cosine_ops);
        comment on column shop.products.embedding is 'features as a pgvector; order by embedding <=> ''[...]''';
    end if;
end
$$;

drop function pick(text, text[]);
drop function dice(text);

grant usage on schema shop to shop_reader;
grant select on all tables in schema shop to shop_reader;

commit;

analyze;
