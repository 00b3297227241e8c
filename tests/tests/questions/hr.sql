-- Human resources: employees who refer to themselves, prefixed columns, two people of a leave request, a view.
-- Deterministic but for today's date, round which the leaves lie.

create schema hr;
set search_path = hr;

create table departments (
    dept_id     int primary key,
    dept_name   text not null unique,
    location    text not null,
    budget      numeric(12, 2) not null,
    cost_center text
);

create table employees (
    emp_id      int primary key,
    emp_name    text not null,
    emp_email   text not null unique,
    job_title   text not null,
    dept_id     int references departments,
    manager_id  int references employees,
    salary      numeric(10, 2) not null,
    bonus       numeric(10, 2),
    hire_date   date not null,
    termination_date date,
    birth_date  date not null,
    gender      text,
    employment_type text not null,
    office_country text not null,
    is_remote   boolean not null,
    active      boolean not null
);

create table leave_requests (
    id           int primary key,
    employee_id  int not null references employees,
    approver_id  int references employees,
    leave_type   text not null,
    status       text not null,
    start_date   date not null,
    end_date     date not null,
    days         int not null,
    submitted_at timestamptz not null
);

create table reviews (
    id           int primary key,
    employee_id  int not null references employees,
    reviewer_id  int not null references employees,
    review_year  int not null,
    rating       int not null,
    comments     text
);

create table trainings (
    id          int primary key,
    name        text not null,
    category    text not null,
    hours       int not null,
    is_required boolean not null
);

create table training_records (
    employee_id  int not null references employees,
    training_id  int not null references trainings,
    completed_on date,
    score        int,
    primary key (employee_id, training_id)
);

create table job_openings (
    id          int primary key,
    title       text not null,
    dept_id     int not null references departments,
    posted_on   date not null,
    closed_on   date,
    openings    int not null,
    status      text not null
);

insert into departments values (1, 'Engineering', 'Berlin', 2400000, 'E1'), (2, 'Marketing', 'Paris', 800000, 'M1'), (3, 'Finance', 'Berlin', 600000, null),
    (4, 'Human Resources', 'Dublin', 300000, 'H1'), (5, 'Legal', 'Dublin', 350000, null), (6, 'Research', 'Paris', 900000, 'R1');

insert into employees
select i, (array['Anna', 'Boris', 'Clara', 'David', 'Elena', 'Felix', 'Greta'])[1 + i % 7] || ' ' || (array['Adler', 'Braun', 'Costa', 'Diaz'])[1 + i % 4] || ' ' || i,
       'emp' || i || '@corp.example', (array['Engineer', 'Analyst', 'Manager', 'Designer', 'Accountant'])[1 + i % 5], case when i % 20 > 0 then 1 + i % 5 end,
       case when i > 6 then 1 + i % 6 end, 32000 + i * 6907 % 98000, case when i % 3 = 0 then 500 * (1 + i % 9) end, date '2013-01-07' + i * 19,
       case when i % 12 = 0 then date '2023-02-28' + i end, date '1960-05-05' + i * 71, case when i % 15 > 0 then (array['female', 'male'])[1 + i % 2] end,
       (array['full-time', 'full-time', 'part-time', 'contractor'])[1 + i % 4], (array['Germany', 'France', 'Ireland'])[1 + i % 3], i % 4 = 1, i % 12 > 0
  from generate_series(1, 210) as i;

insert into leave_requests
select i, 1 + (i * 7) % 200, case when i % 4 > 0 then 1 + i % 6 end, (array['vacation', 'sick', 'parental', 'unpaid'])[1 + i % 5 % 4],
       (array['approved', 'approved', 'pending', 'rejected'])[1 + i % 4], current_date + i % 150 - 110, current_date + i % 150 - 110 + i % 9, 1 + i % 9,
       now() - interval '130 days' + i % 120 * interval '1 day'
  from generate_series(1, 450) as i;

insert into reviews
select i, 1 + (i * 3) % 190, 1 + i % 6, 2021 + i % 4, 1 + i * 7 % 5, case when i % 2 = 0 then 'Fine work ' || i end from generate_series(1, 500) as i;

insert into trainings
select i, (array['Fire Safety', 'Data Privacy', 'Leadership', 'First Aid', 'Negotiation', 'Public Speaking'])[i], (array['safety', 'legal', 'skills', 'safety', 'skills', 'skills'])[i],
       2 + i * 3 % 11, i < 3 from generate_series(1, 6) as i;

insert into training_records
select e, t, case when (e + t) % 3 > 0 then date '2023-01-10' + e * 3 + t end, case when (e + t) % 3 > 0 then 40 + (e * 7 + t * 11) % 61 end
  from generate_series(1, 180) as e, generate_series(1, 6) as t where (e * t) % 4 > 0;

insert into job_openings
select i, (array['Engineer', 'Analyst', 'Designer'])[1 + i % 3], 1 + i % 5, date '2024-01-15' + i * 9, case when i % 3 = 0 then date '2024-03-15' + i * 9 end, 1 + i % 3,
       case when i % 3 = 0 then 'closed' else 'open' end
  from generate_series(1, 36) as i;

analyze;
