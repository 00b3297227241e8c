-- A small clinic: singular table names, keys named after their table, states as plain text, dates without time.
-- Deterministic but for today's date, round which the appointments lie.

create schema clinic;
set search_path = clinic;

create table department (
    department_id int  primary key,
    title         text not null unique,
    floor         int  not null
);

create table employee (
    employee_id   int           primary key,
    first_name    text          not null,
    last_name     text          not null,
    job_title     text          not null,
    department_id int           not null references department,
    salary        numeric(8, 2) not null,
    hired_on      date          not null,
    terminated_on date,
    is_manager    boolean       not null
);
comment on table employee is 'Everybody on the payroll. Also called: staff members';

create table patient (
    patient_id int     primary key,
    full_name  text    not null,
    birth_date date    not null,
    gender     text    not null,
    city       text    not null,
    phone      text,
    insured    boolean not null
);
comment on table patient is 'People who are treated here. Also known as: clients';

create table appointment (
    appointment_id   int       primary key,
    patient_id       int       not null references patient,
    employee_id      int       not null references employee,
    starts_at        timestamp not null,
    duration_minutes int       not null,
    state            text      not null
);
comment on column appointment.state is 'scheduled, completed, cancelled or no_show';

create table invoice (
    invoice_id     int           primary key,
    appointment_id int           not null references appointment,
    amount         numeric(8, 2) not null,
    issued_on      date          not null,
    paid_at        timestamptz
);

insert into department values (1, 'Cardiology', 2), (2, 'Radiology', 0), (3, 'Pediatrics', 1), (4, 'Administration', 3);

insert into employee
select i, (array['Ada', 'Ben', 'Cleo', 'Dan', 'Eva', 'Finn'])[1 + i % 6], (array['Moss', 'Hill', 'Reed', 'Stone', 'Lake'])[1 + i % 5],
       (array['nurse', 'doctor', 'receptionist', 'technician'])[1 + i % 4], 1 + i % 4, 30000 + (i * 7919) % 60000,
       date '2015-03-01' + i * 97, case when i % 9 = 0 then date '2024-02-01' + i end, i % 10 = 1
  from generate_series(1, 40) as i;

insert into patient
select i, (array['Kim', 'Lou', 'Max', 'Nia', 'Oli', 'Pam', 'Quin'])[1 + i % 7] || ' ' || (array['Abel', 'Bond', 'Cole', 'Dorn', 'Eden'])[1 + i % 5],
       date '1940-01-15' + i * 97, (array['female', 'male', 'other'])[1 + i % 3], (array['Bergen', 'Porto', 'Ghent'])[1 + i % 3 * i % 5 % 3],
       case when i % 4 > 0 then '555-' || lpad(i::text, 4, '0') end, i % 5 > 0
  from generate_series(1, 300) as i;

insert into appointment
select i, 1 + (i * 37) % 280, 1 + (i * 11) % 36,
       current_date + (i % 60 - 45) + interval '8 hours' + i % 9 * interval '1 hour', 15 * (1 + i % 4),
       case when i % 60 >= 45 then 'scheduled' when i % 13 = 0 then 'no_show' when i % 7 = 0 then 'cancelled' else 'completed' end
  from generate_series(1, 900) as i;

insert into invoice
select i, i, 40 + (i * 31) % 300, date '2024-01-10' + i, case when i % 3 > 0 then timestamptz '2024-02-10 12:00+00' + i * interval '1 day' end
  from generate_series(1, 500) as i;

analyze;
