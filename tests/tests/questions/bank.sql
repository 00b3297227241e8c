-- A bank: two accounts of a transfer, several dates and states in a row, codes and names of countries.
-- Deterministic but for today's date, before which the transactions lie.

create schema bank;
set search_path = bank;

create type account_type as enum ('checking', 'savings', 'credit');

create table branch (
    branch_id   int  primary key,
    branch_name text not null,
    city        text not null,
    country     text not null,
    opened_on   date not null,
    closed_on   date
);

create table customer (
    customer_id   int  primary key,
    full_name     text not null,
    email         text,
    country       text not null,
    date_of_birth date not null,
    customer_since date not null,
    risk_rating   text not null,
    kyc_verified  boolean not null,
    is_vip        boolean not null default false
);
comment on table customer is 'Private clients. Also called: clients';

create table account (
    account_id   int primary key,
    account_no   text not null unique,
    customer_id  int not null references customer,
    branch_id    int not null references branch,
    account_type account_type not null,
    currency     char(3) not null,
    balance      numeric(12, 2) not null,
    credit_limit numeric(12, 2),
    status       text not null,
    opened_at    timestamptz not null,
    closed_at    timestamptz
);

create table bank_transaction (
    transaction_id   int primary key,
    account_id       int not null references account,
    amount           numeric(12, 2) not null,
    transaction_type text not null,
    status           text not null,
    booked_at        timestamptz not null,
    value_date       date not null,
    merchant         text,
    is_flagged       boolean not null
);

create table transfer (
    transfer_id     int primary key,
    from_account_id int not null references account,
    to_account_id   int not null references account,
    amount          numeric(12, 2) not null,
    requested_at    timestamptz not null,
    executed_at     timestamptz,
    failed          boolean not null
);

create table loan (
    loan_id       int primary key,
    customer_id   int not null references customer,
    principal     numeric(12, 2) not null,
    interest_rate numeric(4, 2) not null,
    term_months   int not null,
    status        text not null,
    approved_on   date,
    due_date      date not null
);

insert into branch
select i, (array['Harbour', 'Central', 'Old Town', 'Airport'])[1 + i % 4] || ' Branch', (array['Lisbon', 'Hamburg', 'Lyon', 'Madrid'])[1 + i % 4],
       (array['Portugal', 'Germany', 'France', 'Spain'])[1 + i % 4], date '1998-05-04' + i * 401, case when i % 6 = 0 then date '2023-03-31' + i end
  from generate_series(1, 14) as i;

insert into customer
select i, (array['Iris', 'Jon', 'Kay', 'Leo', 'Mia'])[1 + i % 5] || ' ' || (array['Ford', 'Grant', 'Holm', 'Ito', 'Jung', 'Karg'])[1 + i % 6],
       case when i % 7 > 0 then 'customer' || i || '@mail.example' end, (array['Germany', 'France', 'Spain', 'Portugal', 'United Kingdom'])[1 + i % 5],
       date '1948-03-02' + i * 61, date '2012-01-09' + i * 9, (array['low', 'medium', 'high'])[1 + i % 11 % 3], i % 6 > 0, i % 17 = 0
  from generate_series(1, 400) as i;

insert into account
select i, 'AC-' || 10000 + i, 1 + (i * 13) % 380, 1 + (i * 5) % 13, (array['checking', 'savings', 'credit'])[1 + i % 3]::account_type,
       (array['EUR', 'USD', 'GBP'])[1 + i % 13 % 3], (i * 7919 % 60000) - 4000 + i / 100.0, case when i % 3 = 2 then 1000 * (1 + i % 5) end,
       (array['active', 'active', 'active', 'frozen', 'closed'])[1 + i % 5], timestamptz '2015-02-01 09:00+00' + i * interval '5 days',
       case when i % 5 = 4 then timestamptz '2024-01-05 12:00+00' + i % 300 * interval '1 day' end
  from generate_series(1, 620) as i;

insert into bank_transaction
select i, 1 + (i * 31) % 600, (i * 997 % 250000) / 100.0, (array['deposit', 'withdrawal', 'payment', 'fee'])[1 + i % 7 % 4],
       (array['posted', 'posted', 'posted', 'pending', 'declined'])[1 + i % 5], date_trunc('day', now()) - i % 200 * interval '1 day' + i % 20 * interval '1 hour',
       current_date - i % 200 + i % 3, case when i % 7 % 4 = 2 then (array['Grocer', 'Airline', 'Bookshop'])[1 + i % 3] end, i % 23 = 0
  from generate_series(1, 5000) as i;

insert into transfer
select i, 1 + (i * 3) % 600, 1 + (i * 7 + 1) % 600, 10 + i * 37 % 5000, date_trunc('day', now()) - i % 150 * interval '1 day' + interval '9 hours',
       case when i % 9 > 0 then date_trunc('day', now()) - i % 150 * interval '1 day' + interval '10 hours' end, i % 9 = 0
  from generate_series(1, 700) as i;

insert into loan
select i, 1 + (i * 11) % 390, 1000 * (1 + i * 7 % 200), 1.5 + i % 30 / 4.0, 12 * (1 + i % 10), (array['applied', 'approved', 'active', 'repaid', 'defaulted'])[1 + i % 5],
       case when i % 5 > 0 then date '2021-01-15' + i * 5 end, date '2024-01-15' + i * 7
  from generate_series(1, 240) as i;

analyze;
